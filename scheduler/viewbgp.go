package scheduler

import (
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// BGPView is a picture of all sessions, for people and scripts.
type BGPView struct {
	Seq   uint64        `json:"seq"`
	Time  time.Time     `json:"time"`  // when the last entry was received
	Hosts []HostBGPView `json:"hosts"` // those that speak BGP, sorted by name
}

// HostBGPView is how one host speaks BGP.
type HostBGPView struct {
	Host     string     `json:"host"`
	State    string     `json:"state"` // as HostView.State
	ASN      uint32     `json:"asn"`
	RouterID netip.Addr `json:"routerId,omitzero"`
	// ClusterID is that of a route reflector; "" of a host that is none.
	ClusterID string              `json:"clusterId,omitempty"`
	Drain     *DrainView          `json:"drain,omitempty"`
	Announced []work.Announcement `json:"announced"`
	Sessions  []SessionView       `json:"sessions"`
}

// DrainView says who took traffic off a host, and when.
type DrainView struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// SessionView is one session as its host last reported it.
type SessionView struct {
	Peer    string     `json:"peer"`
	Address netip.Addr `json:"address"`
	ASN     uint32     `json:"asn"`
	// State is as in events.Session, or "unknown": the host has said nothing.
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"` // when it came to be in that state
	Heard    time.Time `json:"heard,omitzero"` // when the host last said so
	Received int       `json:"received"`
	Accepted int       `json:"accepted"`
	Sent     int       `json:"sent"`
	Flaps    int       `json:"flaps"`           // changes in all
	Error    string    `json:"error,omitempty"` // why the last session ended
	// Refused counts routes that the host did not take; the rest is of the last.
	Refused       int          `json:"refused,omitempty"`
	RefusedPrefix netip.Prefix `json:"refusedPrefix,omitzero"`
	RefusedReason string       `json:"refusedReason,omitempty"`
}

// BGP pictures all sessions.
func (s *State) BGP() BGPView {
	v := BGPView{Seq: s.seq, Time: s.now, Hosts: []HostBGPView{}}
	for _, name := range events.SortedKeys(s.hosts) {
		h := s.hosts[name]
		if !h.speaks {
			continue
		}
		hv := HostBGPView{
			Host: name, State: s.hostState(h), ASN: s.bgp.rules.asn(s.labels(h)), RouterID: h.address, ClusterID: s.labels(h).ClusterID,
			Drain: h.drained(), Announced: []work.Announcement{}, Sessions: []SessionView{},
		}
		if h.bgp != nil {
			hv.Announced = append(hv.Announced, h.bgp.Announce...)
			for i := range h.bgp.Peers {
				hv.Sessions = append(hv.Sessions, h.viewSession(&h.bgp.Peers[i]))
			}
		}
		v.Hosts = append(v.Hosts, hv)
	}
	return v
}

// unknown is the state of a session of which nothing was reported.
const unknown = "unknown"

func (h *host) viewSession(p *work.BGPPeer) SessionView {
	said, known := h.sessions[p.Name]
	if !known {
		said.State = unknown
	}
	refused := h.refusals[p.Name]
	return SessionView{
		Peer: p.Name, Address: p.Address, ASN: p.ASN, State: said.State, Since: said.Since, Heard: said.Heard,
		Received: said.Received, Accepted: said.Accepted, Sent: said.Sent, Flaps: said.Flaps, Error: said.Error,
		Refused: refused.Count, RefusedPrefix: refused.Prefix, RefusedReason: refused.Reason,
	}
}

// Sessions counts the sessions that there should be, and those that are
// established.
func (s *State) Sessions() (wanted, up int) {
	for _, h := range s.hosts {
		w, u := h.countSessions()
		wanted, up = wanted+w, up+u
	}
	return wanted, up
}

func (h *host) countSessions() (wanted, up int) {
	if h.bgp == nil {
		return 0, 0
	}
	for _, said := range h.sessions {
		if said.State == established {
			up++
		}
	}
	return len(h.bgp.Peers), up
}

// drained is who drained the host; nil: nobody, or it is in use again.
func (h *host) drained() *DrainView {
	if h.drain == nil || !h.drain.On {
		return nil
	}
	return &DrainView{By: h.drain.By, Reason: h.drain.Reason, Since: h.drain.Since}
}
