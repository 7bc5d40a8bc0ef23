package bgp_test

import (
	"testing"

	"github.com/taskwall/taskwall/agent/bgp"
)

// A host announces its block and installs what an external peer announces.
func TestLearnAndAnnounce(t *testing.T) {
	noLeaks(t)
	r := newRouter(t, 0).start(64999, 64512, "|graceful restart on;", "10.0.1.0/24", "172.20.0.0/16")
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64999)))
	s.established("r0")
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0), via("172.20.0.0/16", 0)))
	eventually(t, "announced", func() error { return r.has("10.0.0.0/24", "BGP.next_hop: 198.51.100.1", "BGP.as_path: 64512") })
}
