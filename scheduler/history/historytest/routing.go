package historytest

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// speakers is the rack whose hosts speak BGP with the router there; the routes of
// the others are static.
const speakers = "r0"

// routing lets the hosts of a rack speak BGP.
func routing() []events.Resource {
	configuration := resource("BGPConfiguration", "default", map[string]any{"asNumber": 64512, "nodeToNodeMeshEnabled": false})
	annotate(&configuration, map[string]any{"taskwall/hosts": fmt.Sprintf("rack == '%s'", speakers)})
	return []events.Resource{configuration, resource("BGPPeer", "tor", map[string]any{
		"nodeSelector": fmt.Sprintf("rack == '%s'", speakers), "peerIP": "172.31.0.1", "asNumber": 64600,
	})}
}

// peer is the first of those that a host was told of, if it speaks BGP.
func (p *past) peer(h *host) (work.BGPPeer, bool) {
	if told := p.told[h.name]; told != nil && told.BGP != nil && len(told.BGP.Peers) > 0 {
		return told.BGP.Peers[0], true
	}
	return work.BGPPeer{}, false
}

// session lets a host say that its session is in a state.
func (p *past) session(h *host, state, why string) error {
	peer, speaks := p.peer(h)
	if !speaks {
		return nil
	}
	s := events.Session{Peer: peer.Name, Address: peer.Address, State: state, Error: why, Flaps: 1}
	if state == "established" {
		s.Received, s.Accepted, s.Sent = 12, 11, 3
	}
	return p.word(h, work.Report{Session: &s})
}

// route lets a host's session go down for a while, or refuse a route.
func (p *past) route(h *host) error {
	peer, speaks := p.peer(h)
	if !speaks || h.agent == "" {
		return nil
	}
	if p.rnd.IntN(2) == 0 {
		return p.word(h, work.Report{Refused: &events.RouteRefusal{
			Peer: peer.Name, Prefix: netip.MustParsePrefix("0.0.0.0/0"), Reason: "not of a pool", Count: 1 + p.rnd.IntN(5)}})
	}
	if err := p.session(h, "idle", "hold timer expired"); err != nil {
		return err
	}
	p.pass(time.Minute)
	return p.session(h, "established", "")
}

// word stores a report of a host that the log takes in.
func (p *past) word(h *host, r work.Report) error {
	r.Host, r.Seq = h.name, p.reports+1
	ev, _ := r.Word()
	r.Seq = 0
	return p.heard(h.name, r, ev)
}

// drain takes traffic off a host, or has it used again.
func (p *past) drain(h *host) error {
	h.drained = !h.drained
	return p.say(events.Event{Kind: events.HostDrain, Source: "operator", Drain: &events.Drain{
		Host: h.name, On: h.drained, By: authors[p.rnd.IntN(len(authors))], Reason: "kernel update"}})
}
