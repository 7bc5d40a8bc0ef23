package marathon

import "time"

// Status is how a source is doing.
type Status struct {
	Connected bool      `json:"connected"` // a snapshot was taken and the stream is alive
	Leader    string    `json:"leader,omitempty"`
	Since     time.Time `json:"since"` // of Connected
	// LastError is why it is, or last was, not connected.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	// Synced is when everything was last compared, Heard when the last event
	// was looked at.
	Synced time.Time `json:"synced,omitzero"`
	Heard  time.Time `json:"heard,omitzero"`
	Queued int       `json:"queued"` // events that wait to be looked at
	// Hidden is how many apps Marathon does not show though their tasks run, and
	// HiddenApps the first of them.
	Hidden     int      `json:"hidden"`
	HiddenApps []string `json:"hiddenApps,omitempty"`
	Counters   Counters `json:"counters"`
}

// Counters only grow, from 0 at New.
type Counters struct {
	Bytes     uint64 `json:"bytes"`     // of events' data
	Received  uint64 `json:"received"`  // events read from streams
	Snapshots uint64 `json:"snapshots"` // comparisons of everything
	Reads     uint64 `json:"reads"`     // REST calls answered
	Events    uint64 `json:"events"`    // made durable in the log
	Connects  uint64 `json:"connects"`  // streams that were attached
	Failures  uint64 `json:"failures"`  // attempts to connect, or streams, that failed
	Malformed uint64 `json:"malformed"` // events and answers that could not be decoded, were too large, or not whole
	Forbidden uint64 `json:"forbidden"` // single groups, apps and pods that we may not view
	Unknown   uint64 `json:"unknown"`   // events of a type that means nothing to us
	Retries   uint64 `json:"retries"`   // attempts to append that failed
	// Dropped counts what was too large or too much to keep, by what it was:
	// "labels", "texts", "names", "ports", "ids".
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// Status is how the source is doing now. It may be called at any time, from
// any goroutine.
func (s *Source) Status() Status { return s.board.Read() }
