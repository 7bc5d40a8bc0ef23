package work

import (
	"time"

	"github.com/taskwall/taskwall/events"
)

// Report is what a host did or saw. The host that it speaks for is the one of
// the subject that it was published on, whatever its body says: the server
// lets an agent publish on its own subject only.
type Report struct {
	// ID is unique per report; a report sent twice is kept once.
	ID   string    `json:"id"`
	Host string    `json:"host"`
	Time time.Time `json:"time"`
	// Seq is the report's place in the REPORTS stream, as a follower reads it.
	Seq uint64 `json:"-"`

	// Exactly one of these is set.
	Join    *events.Join   `json:"join,omitempty"`   // becomes an agent.join event
	Wiring  *events.Wiring `json:"wiring,omitempty"` // becomes an endpoint.state event
	Applied *Applied       `json:"applied,omitempty"`
	Drift   *Drift         `json:"drift,omitempty"`
}

// Applied answers a work item.
type Applied struct {
	Rev uint64 `json:"rev"`
	// Took is from the item's arrival to its last kernel change, in nanoseconds.
	Took time.Duration `json:"took"`
	// Digest is a hash of the host's whole picture as applied (State.Digest).
	// It is empty when the picture is large and further items are expected; a
	// further report of the same revision brings it when the host is quiet.
	Digest string `json:"digest"`
	// Cut is how many established connections the new verdicts denied, and
	// were cut.
	Cut int `json:"cut,omitempty"`
	// Failed lists what of the item could not be applied; the endpoints that
	// depend on it are closed.
	Failed []Failure `json:"failed,omitempty"`
}

// Failure is a part of an item that could not be applied.
type Failure struct {
	Key   string `json:"key"` // e.g. "program 3f…", "endpoint fw/task"
	Error string `json:"error"`
}

// Drift is a difference between what the kernel should hold and did hold, and
// that was mended.
type Drift struct {
	What string `json:"what"` // e.g. "iptables filter: 3 rules of tw-… missing"
}
