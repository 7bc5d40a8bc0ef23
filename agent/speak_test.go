package agent_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

func shows(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

func until(t *testing.T, what string, so func() error) {
	t.Helper()
	var err error
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if err = so(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not so: %v", what, err)
}

// A host goes from static routes to BGP and back, its agent is killed and comes
// back without a controller, and someone removes a learned route: a flow between two
// hosts loses only what that last one costs.
func TestStaticToBGPAndBack(t *testing.T) {
	l := newLab(t, inProcess)
	t.Cleanup(func() { exec.Command("ip", "route", "flush", "proto", "85").Run() }) //nolint:errcheck // there may be none
	other := neighbourHost(t)
	other.Serve("udp", "10.0.1.7:53")
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}, Routes: blocks()})
	a := l.run("a", "10.0.0.1", "open")
	a.reaches("udp", "10.0.1.7:53")
	flow := startStream(t, a.hold("udp", "10.0.1.7:53"))

	const block = "10.0.1.0/24"
	static := func() bool { return strings.Contains(shows(t, "route show proto 84"), block) }
	learned := func() bool {
		return strings.Contains(shows(t, "route show proto 85"), block+" via 198.51.100.2 dev up0 metric 85")
	}
	speech := &work.BGP{
		ASN: 64512, RouterID: netip.MustParseAddr("198.51.100.1"), Port: 179,
		Announce: []work.Announcement{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}},
		Accept:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Pools: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		Peers: []work.BGPPeer{{Name: "mesh/h2", Address: netip.MustParseAddr("198.51.100.2"), ASN: 64512}},
	}
	l.must(work.Item{BGP: speech, Delete: &work.Deletions{Routes: []netip.Prefix{netip.MustParsePrefix(block)}}})
	if !static() {
		t.Error("the static route went though nothing was learned")
	}
	const conf = `log stderr all; router id 198.51.100.2; protocol device {}
protocol static { ipv4; route %s blackhole; route 0.0.0.0/0 blackhole; }
protocol bgp host { local 198.51.100.2 as 64512; neighbor 198.51.100.1 as 64512; direct; graceful restart on;
  connect delay time 1; error wait time 1, 1; ipv4 { import all; export all; next hop self; }; }`
	bird := other.Bird(t, fmt.Sprintf(conf, block))
	until(t, "learned, and the static route is gone", func() error {
		if !learned() || static() {
			return fmt.Errorf("learned %v, static %v", learned(), static())
		}
		return bird.Has("10.0.0.0/24")
	})
	l.await("an established session", func(r work.Report) bool {
		return r.Session != nil && r.Session.Host == "h1" && r.Session.Peer == "mesh/h2" && r.Session.State == "established"
	})
	l.await("a refused route", func(r work.Report) bool {
		return r.Refused != nil && r.Refused.Host == "h1" && r.Refused.Prefix.Bits() == 0 && r.Refused.Reason == "a default route is never learned"
	})

	l.kill()
	l.start() // and no controller
	awaitSynced(t, l, a)
	until(t, "the session is back", func() error {
		if !learned() || static() {
			return fmt.Errorf("learned %v, static %v", learned(), static())
		}
		return bird.Up("host")
	})

	back := *l.wanted.Item(l.cfg.Host)
	back.BGP, back.Routes = nil, blocks()
	l.must(back)
	if learned() || !static() {
		t.Errorf("back: learned %v, static %v", learned(), static())
	}
	until(t, "the peer is left", func() error {
		if bird.Up("host") == nil {
			return fmt.Errorf("it still speaks")
		}
		return nil
	})
	if sent, lost := flow.end(); lost > 0 || sent < 100 {
		t.Errorf("lost %d of %d packets", lost, sent)
	}
	a.reaches("udp", "10.0.1.7:53")
}

// A learned route that someone removes is back within seconds, and reported.
func TestLearnedRouteDrifts(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.CheckEvery = time.Hour })
	t.Cleanup(func() { exec.Command("ip", "route", "flush", "proto", "85").Run() }) //nolint:errcheck // there may be none
	other := neighbourHost(t)
	other.Bird(t, `router id 198.51.100.2; protocol device {}
protocol static { ipv4; route 10.0.1.0/24 blackhole; }
protocol bgp host { local 198.51.100.2 as 64999; neighbor 198.51.100.1 as 64512; connect delay time 1;
  ipv4 { import all; export all; next hop self; }; }`)
	l.must(work.Item{BGP: &work.BGP{ASN: 64512, RouterID: netip.MustParseAddr("198.51.100.1"), Port: 179,
		Accept: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		Peers:  []work.BGPPeer{{Name: "tor", Address: netip.MustParseAddr("198.51.100.2"), ASN: 64999}}}})
	there := func() error {
		if got := shows(t, "route show proto 85"); !strings.Contains(got, "10.0.1.0/24 via 198.51.100.2") {
			return fmt.Errorf("the kernel has %q", got)
		}
		return nil
	}
	until(t, "learned", there)
	shows(t, "route del 10.0.1.0/24 proto 85")
	l.await("drift", func(r work.Report) bool {
		return r.Drift != nil && r.Drift.What == "learned route 10.0.1.0/24 was missing"
	})
	if err := there(); err != nil {
		t.Error(err)
	}
}
