package mesos

import "time"

// Status is how a source is doing.
type Status struct {
	Connected bool      `json:"connected"` // a snapshot was taken and its stream is alive
	Leader    string    `json:"leader,omitempty"`
	Since     time.Time `json:"since"` // of Connected
	// LastError is why it is, or last was, not connected.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	// Synced is when the whole state was last compared, Heard when the last
	// record was taken.
	Synced time.Time `json:"synced,omitzero"`
	Heard  time.Time `json:"heard,omitzero"`
	// Hidden is on how many agents more runs than the master shows us.
	Hidden int `json:"hidden,omitempty"`
	// Shared are the hostnames that more than one registered agent has: to us
	// they are one host.
	Shared []string `json:"shared,omitempty"`
	// Queued is the number of records that wait to be reduced.
	Queued   int      `json:"queued"`
	Counters Counters `json:"counters"`
}

// Counters only grow, from 0 at New.
type Counters struct {
	Bytes     uint64 `json:"bytes"`     // read from streams
	Records   uint64 `json:"records"`   // read from streams, heartbeats included
	Snapshots uint64 `json:"snapshots"` // whole states compared
	Events    uint64 `json:"events"`    // made durable in the log
	Connects  uint64 `json:"connects"`  // subscriptions that gave a snapshot
	Failures  uint64 `json:"failures"`  // attempts to connect, or streams, that failed
	Resyncs   uint64 `json:"resyncs"`   // subscriptions made anew on a timer or on doubt
	Doubts    uint64 `json:"doubts"`    // records that did not fit what is known
	Malformed uint64 `json:"malformed"` // records that could not, or only in part, be decoded
	Unknown   uint64 `json:"unknown"`   // records of a type that means nothing to us
	Stale     uint64 `json:"stale"`     // records about what had already ended
	Polls     uint64 `json:"polls"`     // GET_AGENTS and GET_EXECUTORS answered
	PollFails uint64 `json:"pollFails"` // … and not
	Retries   uint64 `json:"retries"`   // attempts to append that failed
	// Dropped counts what was too large or too much to keep, by what it was:
	// "labels", "texts", "names", "networks", "ports", "ids".
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// Status is how the source is doing now. It may be called at any time, from
// any goroutine.
func (s *Source) Status() Status { return s.board.Read() }
