package work

import (
	"net/netip"
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
	Join    *events.Join         `json:"join,omitempty"`   // becomes an agent.join event
	Wiring  *events.Wiring       `json:"wiring,omitempty"` // becomes an endpoint.state event
	Applied *Applied             `json:"applied,omitempty"`
	Drift   *Drift               `json:"drift,omitempty"`
	Logged  *Logged              `json:"logged,omitempty"`
	Session *events.Session      `json:"session,omitempty"` // becomes a bgp.session event
	Refused *events.RouteRefusal `json:"refused,omitempty"` // becomes a bgp.refused event
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
	// Trouble is what is wrong on the host now, whatever the item: a disk that
	// does not take the picture, a table that is full, a posture that is closed because
	// the kernel refused it. A further report of the same revision says so when it
	// changes, also when nothing is wrong any more.
	Trouble []string `json:"trouble,omitempty"`
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

// Logged is what a host's firewall logged: packets of one kind that a rule
// denied, or that met a rule with the action "log". The kernel limits how many it
// hands over, so Count is a lower bound.
type Logged struct {
	Action Action `json:"action"` // Deny or Log
	// Direction is "egress" or "ingress", from the task's point of view; empty
	// when no policy decided: then Policy says what did.
	Direction string `json:"direction,omitempty"`
	// Policy and Index are those of the Rule.
	Policy   string     `json:"policy"`
	Index    int        `json:"index"`
	Source   netip.Addr `json:"source"`
	Dest     netip.Addr `json:"dest"`
	Protocol int        `json:"protocol"`
	Port     uint16     `json:"port,omitempty"` // the destination's
	// SourceTask and DestTask are the endpoints of this host that have the
	// addresses.
	SourceTask string `json:"sourceTask,omitempty"`
	DestTask   string `json:"destTask,omitempty"`
	Count      int    `json:"count"`
}
