package cni

import (
	"encoding/json"
	"fmt"
	"io"
)

// DefaultSocket is where the agent listens unless the network configuration's
// key "socket" says otherwise.
const DefaultSocket = "/run/taskwall/agent.sock"

// request is a call as the plugin got it.
type request struct {
	Command   string          `json:"command"`
	Container string          `json:"container"`
	Namespace string          `json:"namespace"`
	Iface     string          `json:"iface"`
	Config    json.RawMessage `json:"config"`
}

// response is what the plugin prints and exits with.
type response struct {
	Stdout json.RawMessage `json:"stdout,omitempty"`
	Exit   int             `json:"exit"`
}

// maxMessage bounds a message in bytes. A network configuration with Mesos's
// network info takes some hundred; a GC call lists every attachment.
const maxMessage = 4 << 20

// read takes one JSON value off a connection.
func read(r io.Reader, v any) error {
	b := io.LimitReader(r, maxMessage)
	if err := json.NewDecoder(b).Decode(v); err != nil {
		return fmt.Errorf("reading a message: %w", err)
	}
	return nil
}
