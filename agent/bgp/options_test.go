package bgp_test

import (
	"fmt"
	"testing"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/events/work"
)

// A path with the host's own number is a loop, unless it may be in it.
func TestOwnNumberInThePath(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64999, 64512, "export filter { if net = 10.0.2.0/24 then bgp_path.prepend(64512); accept; };", "10.0.1.0/24", "10.0.2.0/24")
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999))
	s.apply(b)
	eventually(t, "what is no loop is learned", kernelHas(t, via("10.0.1.0/24", 0)))
	allowed := *b
	allowed.Peers = []work.BGPPeer{b.Peers[0]}
	allowed.Peers[0].AllowOwnASN = 1
	s.apply(&allowed)
	eventually(t, "with its number allowed once", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.2.0/24", 0)))
	s.apply(b)
	eventually(t, "and no longer", kernelHas(t, via("10.0.1.0/24", 0)))
}

// What is passed on to a router outside has the host as next hop, or the one
// that it was learned with.
func TestNextHopIsKept(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64512, 64512, "", "10.0.1.0/24")
	out := newRouter(t, 1).start(64999, 64512, "gateway recursive;") // so that it takes a next hop that is not beside it
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64512), peerOn(1, 64999))
	s.apply(b)
	next := func(hop fmt.Stringer) func() error {
		return func() error { return out.Has("10.0.1.0/24", "BGP.next_hop: "+hop.String()) }
	}
	eventually(t, "by way of the host", next(hostOn(1)))
	kept := *b
	kept.Peers = []work.BGPPeer{b.Peers[0], b.Peers[1]}
	kept.Peers[1].KeepNextHop = true
	s.apply(&kept)
	eventually(t, "by the way that it was learned", next(routerOn(0)))
}

// A peer that comes and goes is followed each time, and reported ever more
// rarely, with the changes between counted.
func TestFlappingPeer(t *testing.T) {
	noLeaks(t)
	r := newRouter(t, 0).start(64999, 64512, "", "10.0.1.0/24")
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64999)))
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0)))
	const flaps = 2
	for range flaps {
		for _, step := range []struct {
			command string
			then    func() error
		}{{"disable host", kernelHas(t)}, {"enable host", kernelHas(t, via("10.0.1.0/24", 0))}} {
			if _, err := r.Ask(step.command); err != nil {
				t.Fatal(err)
			}
			eventually(t, step.command, step.then)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.sessions); n == 0 || n > 2*flaps {
		t.Errorf("%d reports of %d changes: %+v", n, 2*flaps+1, s.sessions)
	}
}
