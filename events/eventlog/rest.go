package eventlog

import (
	"encoding/json"
	"fmt"
)

// verifierAtRest is a Verifier that was written down between two records.
type verifierAtRest struct {
	Report Report `json:"report"`
	Next   uint64 `json:"next"`
	Link   Hash   `json:"link"`
	Linked bool   `json:"linked"`
}

// MarshalJSON writes down how far the check has come.
func (v *Verifier) MarshalJSON() ([]byte, error) {
	return json.Marshal(verifierAtRest{v.rep, v.next, v.link, v.linked})
}

// UnmarshalJSON brings a Verifier, new and with all checkpoints, to where one
// that was written down had come.
func (v *Verifier) UnmarshalJSON(data []byte) error {
	var a verifierAtRest
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("going on with the check of the log: %w", err)
	}
	v.rep, v.next, v.link, v.linked = a.Report, a.Next, a.Link, a.Linked
	for len(v.checkpoints) > 0 && v.checkpoints[0].Seq < v.next {
		v.checkpoints = v.checkpoints[1:]
	}
	return nil
}
