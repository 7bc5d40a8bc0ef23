package events

import "net/netip"

// Session is what a host's speaker says of one peer when it changes.
type Session struct {
	Host    string     `json:"host"`
	Peer    string     `json:"peer"` // the name of the work.BGPPeer
	Address netip.Addr `json:"address"`
	// State is "established", or what it is instead (RFC 4271, 8.2.2): "idle",
	// "connect", "active", "opensent", "openconfirm".
	State string `json:"state"`
	// Error is why the last session ended, in words; empty when none did.
	Error string `json:"error,omitempty"`
	// Received and Accepted count prefixes from the peer, Sent those to it.
	Received int `json:"received,omitempty"`
	Accepted int `json:"accepted,omitempty"`
	Sent     int `json:"sent,omitempty"`
	// Flaps counts the changes between up and down since the last report, that
	// to State among them: a flapping peer is reported once in a while, not
	// each time. It is 0 when only other counts changed.
	Flaps int `json:"flaps,omitempty"`
	// Report is the place of the host's report; see Wiring.Report.
	Report uint64 `json:"report,omitempty"`
}

// RouteRefusal is a route that a peer offered and that was not taken.
type RouteRefusal struct {
	Host   string       `json:"host"`
	Peer   string       `json:"peer"`
	Prefix netip.Prefix `json:"prefix"`
	Reason string       `json:"reason"`
	Count  int          `json:"count"` // of such refusals since the last report
	// Report is the place of the host's report; see Wiring.Report.
	Report uint64 `json:"report,omitempty"`
}

// Drain is an operator's word on a host: take traffic off it before work on
// it, or use it again.
type Drain struct {
	Host   string `json:"host"`
	On     bool   `json:"on"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}
