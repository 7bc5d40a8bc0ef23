package cni

import (
	"encoding/json"
	"errors"
)

// Codes of the CNI specification, and our own from 100 on.
const (
	CodeVersion     = 1  // the configuration's CNI version is not supported
	CodeEnvironment = 4  // a CNI_ variable is missing or wrong
	CodeDecode      = 6  // stdin cannot be read
	CodeConfig      = 7  // the network configuration is wrong
	CodeAgain       = 11 // try again later
	CodeUnavailable = 50 // STATUS: the plugin cannot serve an ADD
	CodeFailed      = 100
)

// Error is the answer to a call that failed, in the form of the CNI
// specification. Msg is what a task's owner reads in the task's failure.
type Error struct {
	Version string `json:"cniVersion"`
	Code    int    `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

// asError turns any error into what the caller is told.
func asError(version string, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		out := *e
		out.Version = version
		return &out
	}
	return &Error{Version: version, Code: CodeFailed, Msg: err.Error()}
}

func (e *Error) json() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("cni: encoding an error: " + err.Error()) // plain data: cannot fail
	}
	return b
}
