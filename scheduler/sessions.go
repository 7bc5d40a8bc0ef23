package scheduler

import (
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
)

// session is what a host last said of a peer.
type session struct {
	State    string    `json:"state"`
	Since    time.Time `json:"since"` // when it came to be in that state
	Heard    time.Time `json:"heard"`
	Error    string    `json:"error,omitempty"` // why the last one ended
	Received int       `json:"received,omitempty"`
	Accepted int       `json:"accepted,omitempty"`
	Sent     int       `json:"sent,omitempty"`
	Flaps    int       `json:"flaps,omitempty"` // changes in all
}

// refusals are the routes of one peer that a host did not take.
type refusals struct {
	Count  int          `json:"count"`
	Prefix netip.Prefix `json:"prefix"` // of the last one
	Reason string       `json:"reason"`
	Time   time.Time    `json:"time"`
}

// established is the state of a session that carries routes.
const established = "established"

// session takes in what a host says of one of its peers. Only peers that it
// was told of are kept, so what a host can make us remember is bounded.
func (s *State) session(e events.Session) {
	h := s.hosts[e.Host]
	if h == nil || !h.hasPeer(e.Peer) {
		return
	}
	old, known := h.sessions[e.Peer]
	now := session{
		State: e.State, Since: s.now, Heard: s.now, Error: e.Error,
		Received: e.Received, Accepted: e.Accepted, Sent: e.Sent, Flaps: old.Flaps + max(e.Flaps, 0),
	}
	if known && old.State == e.State && e.Flaps <= 1 {
		now.Since = old.Since
	}
	h.sessions[e.Peer] = now
}

// refuseRoute takes in that a host did not take a route.
func (s *State) refuseRoute(e events.RouteRefusal) {
	h := s.hosts[e.Host]
	if h == nil || !h.hasPeer(e.Peer) {
		return
	}
	h.refusals[e.Peer] = refusals{
		Count: h.refusals[e.Peer].Count + max(e.Count, 1), Prefix: e.Prefix, Reason: e.Reason, Time: s.now,
	}
}

func (h *host) hasPeer(name string) bool {
	if h.bgp == nil {
		return false
	}
	for i := range h.bgp.Peers {
		if h.bgp.Peers[i].Name == name {
			return true
		}
	}
	return false
}

// forgetSessions drops what was said of peers that the host no longer has.
func (h *host) forgetSessions() {
	has := map[string]bool{}
	if h.bgp != nil {
		for i := range h.bgp.Peers {
			has[h.bgp.Peers[i].Name] = true
		}
	}
	for name := range h.sessions {
		if !has[name] {
			delete(h.sessions, name)
		}
	}
	for name := range h.refusals {
		if !has[name] {
			delete(h.refusals, name)
		}
	}
}

// drained is the last word on draining a host.
type drained struct {
	On     bool      `json:"on"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// drain takes in an operator's word on a host that is known.
func (s *State) drain(d events.Drain) {
	if h := s.hosts[d.Host]; h != nil {
		h.drain = &drained{On: d.On, By: d.By, Reason: d.Reason, Since: s.now}
		s.bgp.dirty[h] = true
	}
}
