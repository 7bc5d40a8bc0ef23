package bgp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/events/work"
)

// A host announces its block and installs what an external peer announces. A
// second peer, other filters and more announcements leave the first session
// alone; leaving a peer ends its session and its routes; ending BGP removes what was
// learned and nothing else.
func TestReconcile(t *testing.T) {
	noLeaks(t)
	r0 := newRouter(t, 0).start(64999, 64512, "|graceful restart on;", "10.0.1.0/24", "10.0.9.0/28", "172.20.0.0/16")
	r1 := newRouter(t, 1)
	ip(t, "route add 10.77.0.0/16 via 198.51.100.2 proto static")
	t.Cleanup(func() { ip(t, "route del 10.77.0.0/16") })
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999))
	s.apply(b)
	s.established("r0")
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.9.0/28", 0), via("172.20.0.0/16", 0)))
	eventually(t, "announced", func() error {
		return r0.Has("10.0.0.0/24", "BGP.next_hop: 198.51.100.1", "BGP.as_path: 64512")
	})
	up, err := r0.Ask("show protocols host")
	if err != nil {
		t.Fatal(err)
	}

	r1.start(64512, 64512, "|graceful restart on;", "10.0.2.0/24")
	again := *b
	again.Peers = []work.BGPPeer{b.Peers[0], peerOn(1, 64512)}
	again.Peers[0].Import = []work.BGPFilter{
		{Prefix: prefix("10.0.0.0/16"), Match: "In", MinLength: 28, Filter: "short", Index: 0},
		{Prefix: prefix("10.0.0.0/16"), Match: "In", Accept: true, Filter: "short", Index: 1},
		{Filter: "short", Index: 2},
	}
	again.Peers[0].Export = []work.BGPFilter{{Prefix: prefix("10.0.0.0/24"), Match: "Equal", Accept: true, Filter: "out"}, {Filter: "out", Index: 1}}
	again.Announce = []work.Announcement{
		{Prefix: prefix("10.0.0.0/24"), Communities: []string{"64512:100", "64512:0:100"}},
		{Prefix: prefix("10.0.5.5/32")},
	}
	s.apply(&again)
	s.established("r1")
	eventually(t, "learned from both, filtered", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.2.0/24", 1)))
	eventually(t, "announced with communities", func() error {
		return r0.Has("10.0.0.0/24", "BGP.community: (64512,100)", "BGP.large_community: (64512, 0, 100)")
	})
	eventually(t, "announced inside", func() error {
		return errors.Join(r1.Has("10.0.5.5/32", "BGP.local_pref: 100"), r1.Has("10.0.0.0/24"))
	})
	if err := r0.hasNot("10.0.5.5/32"); err != nil {
		t.Errorf("a filter did not hold it back: %v", err)
	}
	if now, err := r0.Ask("show protocols host"); err != nil || now != up {
		t.Errorf("the first session was touched: %s%s%v", up, now, err)
	}

	drained := again
	drained.Drain = true
	s.apply(&drained)
	eventually(t, "drained", func() error {
		return errors.Join(r0.Has("10.0.0.0/24", "(65535,0)", "(64512,100)"), r1.Has("10.0.0.0/24", "(65535,0)", "BGP.local_pref: 0"))
	})

	gone := again
	gone.Peers, gone.Announce = again.Peers[1:], again.Announce[:1]
	s.apply(&gone)
	eventually(t, "only the second peer is left", kernelHas(t, via("10.0.2.0/24", 1)))
	eventually(t, "withdrawn", func() error { return r1.hasNot("10.0.5.5/32") })
	eventually(t, "the first peer has lost what it had", func() error { return r0.hasNot("10.0.0.0/24") })

	s.apply(nil)
	eventually(t, "nothing is left", kernelHas(t))
	if got := ip(t, "route show 10.77.0.0/16"); !strings.Contains(got, "proto static") {
		t.Errorf("someone else's route is gone: %q", got)
	}
}

// What a peer must not announce is not installed, each is reported once with
// the reason, and what it may announce besides is.
func TestRefused(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64999, 64512, "", "0.0.0.0/0", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.7/32", "10.0.0.8/32",
		"10.0.0.0/16", "10.0.0.0/8", "192.168.7.0/24", "198.51.100.1/32", "192.0.2.1/32", "10.0.1.0/24", "10.0.3.3/32", "10.0.4.0/28")
	s := speak(t, bgp.Config{})
	s.Taken(addr("10.0.0.7"), addr("10.0.3.3"))
	b := config(peerOn(0, 64999))
	b.Accept = append(b.Accept, prefix("198.51.100.0/24"))
	b.Peers[0].Import = []work.BGPFilter{{Prefix: prefix("10.0.4.0/24"), Match: "In", Filter: "lab", Index: 2}}
	s.apply(b)
	s.established("r0")
	eventually(t, "only what may be", kernelHas(t, via("10.0.1.0/24", 0), strings.Replace(via("10.0.0.8", 0), "/32", "", 1)))
	for p, why := range map[string]string{
		"0.0.0.0/0":       "a default route is never learned",
		"10.0.0.0/24":     "it is the host's own",
		"10.0.0.128/25":   "it is a part of the host's own block 10.0.0.0/24",
		"10.0.0.7/32":     "it is the address of a task of this host",
		"10.0.3.3/32":     "it is the address of a task of this host",
		"10.0.0.0/16":     "it covers the whole pool 10.0.0.0/16",
		"10.0.0.0/8":      "it covers the whole pool 10.0.0.0/16",
		"192.168.7.0/24":  "it is in no network that may be learned",
		"198.51.100.1/32": "it covers the host's own address 198.51.100.1",
		"192.0.2.1/32":    "it covers the host's own address 192.0.2.1",
		"10.0.4.0/28":     "rejected by filter lab rule 2",
	} {
		eventually(t, p+" is reported", func() error {
			got := s.refusal(p)
			if len(got) != 1 || got[0].Reason != why || got[0].Peer != "r0" || got[0].Count < 1 {
				return fmt.Errorf("%+v, want %q", got, why)
			}
			return nil
		})
	}
	// Once no task has the address any more it may live elsewhere.
	s.Freed(addr("10.0.3.3"))
	eventually(t, "freed", func() error {
		if !s.Has(prefix("10.0.3.3/32")) {
			return errors.New("not installed")
		}
		return nil
	})
	s.Taken(addr("10.0.3.3"))
	eventually(t, "taken again", func() error {
		if s.Has(prefix("10.0.3.3/32")) {
			return errors.New("installed")
		}
		return nil
	})
}

// A peer that offers too much is taken out with all that it offered, said so,
// and tried again later.
func TestTooManyPrefixes(t *testing.T) {
	noLeaks(t)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("10.0.%d.0/24", 10+i))
	}
	newRouter(t, 0).start(64999, 64512, "|graceful restart on;", many...)
	s := speak(t, bgp.Config{PauseTime: 3 * time.Second})
	b := config(peerOn(0, 64999))
	b.Peers[0].MaxPrefixes = 20
	s.apply(b)
	eventually(t, "said", func() error {
		if l := s.last("r0"); l.State == "established" || l.Error != "it offered more than 20 prefixes" {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	eventually(t, "nothing of it is left", kernelHas(t))
	more := *b
	more.Peers = []work.BGPPeer{b.Peers[0]}
	more.Peers[0].MaxPrefixes = 40
	s.apply(&more)
	s.established("r0") // when its time is over
	eventually(t, "all are there", func() error {
		if n := strings.Count(ip(t, "route show proto 85"), "\n"); n != 30 {
			return fmt.Errorf("%d routes", n)
		}
		return nil
	})
}

// A session with a key works only when both have the same, takes a new key
// from the disk, and says nothing of it.
func TestMD5(t *testing.T) {
	noLeaks(t)
	const key, next = "correct-horse", "battery-staple"
	r := newRouter(t, 0).start(64512, 64512, `|password "`+key+`";`, "10.0.1.0/24")
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "tor"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	s := speak(t, bgp.Config{Secrets: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))})
	b := config(peerOn(0, 64512))
	b.Peers[0].Password = "tor"
	if failed := s.Apply(context.Background(), b); len(failed) != 1 || !strings.Contains(failed[0].Error, "password") {
		t.Fatalf("without the file: %v", failed)
	}
	write("wrong")
	sync := func() {
		t.Helper()
		if _, failures, err := s.Sync(); err != nil || len(failures) > 0 {
			t.Fatalf("%v, %v", failures, err)
		}
	}
	sync()
	eventually(t, "the kernel has dropped a segment with another key", func() error {
		stat, err := os.ReadFile("/proc/net/netstat")
		if err != nil {
			return err
		}
		names, values, _ := strings.Cut(string(stat), "\n")
		values, _, _ = strings.Cut(values, "\n")
		if i := slices.Index(strings.Fields(names), "TCPMD5Failure"); i < 0 || strings.Fields(values)[i] == "0" {
			return errors.New("not yet")
		}
		return nil
	})
	if l := s.last("r0"); l.State == "established" {
		t.Errorf("with another key: %+v", l)
	}
	write(key)
	sync()
	s.established("r0")
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0)))

	// Both change it; the session comes back without anyone's configuration.
	r.Kill()
	write(next)
	r.start(64512, 64512, `|password "`+next+`";`, "10.0.2.0/24")
	sync()
	eventually(t, "the new key works", kernelHas(t, via("10.0.2.0/24", 0)))

	// A peer at the same address without one: the listening socket forgot it.
	r.Kill()
	s.apply(config())
	r.start(64512, 64512, "", "10.0.3.0/24")
	s.apply(config(peerOn(0, 64512)))
	eventually(t, "without a key", kernelHas(t, via("10.0.3.0/24", 0)))
	s.stop()
	for _, secret := range []string{key, next, "wrong"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TTL security takes a peer on the link and none from further away; two
// speakers of ours agree on it as well as a router and one.
func TestTTLSecurity(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64999, 64512, "|ttl security on;", "10.0.1.0/24")
	far := newRouter(t, 1)
	far.start(64998, 64512, "|multihop 5;", "10.0.2.0/24") // sends with 5
	ours := newRouter(t, 2)
	theirs := work.BGP{ASN: 64513, RouterID: routerOn(2), Port: 179, Announce: []work.Announcement{{Prefix: prefix("10.0.3.0/24")}},
		Accept: []netip.Prefix{prefix("10.0.0.0/16")}, Peers: []work.BGPPeer{{Name: "h", Address: hostOn(2), Port: port, ASN: 64512, Source: routerOn(2), TTLSecurity: 1}}}
	startChild(t, &theirs, ours.ns.Do)
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999), peerOn(1, 64998), peerOn(2, 64513))
	for i := range b.Peers {
		b.Peers[i].TTLSecurity = 1
	}
	s.apply(b)
	s.established("r0", "r2")
	eventually(t, "near ones", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.3.0/24", 2)))
	if l := s.last("r1"); l.State == "established" {
		t.Errorf("the far one: %+v", l)
	}
	// Told to, it takes one from afar.
	b = config(b.Peers...)
	b.Peers[1].TTLSecurity, b.Peers[1].Multihop = 0, 5
	s.apply(b)
	s.established("r1")
}

// As a client of a reflector the host installs the others' next hops; as a
// reflector it passes them on as they are, and what it refuses it does not pass on.
func TestReflection(t *testing.T) {
	noLeaks(t)
	rr := newRouter(t, 0).start(64512, 64512, "next hop keep; export filter { bgp_next_hop = 198.51.100.77; accept; };|rr client;", "10.0.1.0/24")
	c1 := newRouter(t, 1).start(64512, 64512, "", "10.0.2.0/24", "10.0.0.0/16")
	c2 := newRouter(t, 2).start(64512, 64512, "", "10.0.4.0/24")
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64512), peerOn(1, 64512), peerOn(2, 64512))
	b.Peers[1].ClusterID, b.Peers[2].ClusterID = host(), host()
	s.apply(b)
	s.established("r0", "r1", "r2")
	eventually(t, "by the reflector's word", kernelHas(t, "10.0.1.0/24 via 198.51.100.77 dev up0 metric 85", via("10.0.2.0/24", 1), via("10.0.4.0/24", 2)))
	eventually(t, "reflected", func() error {
		return errors.Join(
			c2.Has("10.0.2.0/24", "BGP.next_hop: 198.51.101.2", "BGP.originator_id: 198.51.101.2", "BGP.cluster_list: 192.0.2.1"),
			c1.Has("10.0.4.0/24", "BGP.next_hop: 198.51.102.2"),
			c1.Has("10.0.1.0/24"), c1.Has("10.0.0.0/24"),
			rr.Has("10.0.2.0/24"))
	})
	for _, c := range []*router{c2, rr} {
		if err := c.hasNot("10.0.0.0/16"); err != nil {
			t.Errorf("what is refused is passed on: %v", err)
		}
	}
}

// Equal paths share the traffic; of unequal ones the better is used, and what
// drains is not preferred by a peer outside.
func TestMultipath(t *testing.T) {
	noLeaks(t)
	r0 := newRouter(t, 0).start(64999, 64512, "", "10.0.1.0/24")
	newRouter(t, 1).start(64999, 64512, "", "10.0.1.0/24", "10.0.2.0/24")
	newRouter(t, 2).start(64999, 64512, "export filter { bgp_community.add((65535,0)); accept; };", "10.0.1.0/24", "10.0.3.0/24")
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999), peerOn(1, 64999), peerOn(2, 64999))
	s.apply(b)
	both := "10.0.1.0/24 metric 85 nexthop via 198.51.100.2 dev up0 weight 1 nexthop via 198.51.101.2 dev up1 weight 1"
	eventually(t, "shared by two", kernelHas(t, both, via("10.0.2.0/24", 1), via("10.0.3.0/24", 2)))
	prefer := *b
	prefer.Peers = append([]work.BGPPeer(nil), b.Peers...)
	prefer.Peers[1].LocalPref = 200
	s.apply(&prefer)
	eventually(t, "the preferred one", kernelHas(t, via("10.0.1.0/24", 1), via("10.0.2.0/24", 1), via("10.0.3.0/24", 2)))
	s.apply(b)
	eventually(t, "shared again", kernelHas(t, both, via("10.0.2.0/24", 1), via("10.0.3.0/24", 2)))
	r0.Kill()
	eventually(t, "the other carries on", kernelHas(t, via("10.0.1.0/24", 1), via("10.0.2.0/24", 1), via("10.0.3.0/24", 2)))
}

// A next hop is found over the host's own routes, never over a learned one;
// until it can be, the route is reported.
func TestNextHops(t *testing.T) {
	noLeaks(t)
	const far = "203.0.113.9"
	newRouter(t, 0).start(64512, 64512, "next hop keep; export filter { if net = 10.0.1.0/24 then bgp_next_hop = "+far+
		"; if net = 10.0.2.0/24 then bgp_next_hop = 10.0.3.3; if net = 10.0.4.0/24 then bgp_next_hop = 192.0.2.1; accept; };|direct;",
		"10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "10.0.4.0/24")
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64512)))
	s.established("r0")
	eventually(t, "on the link", kernelHas(t, via("10.0.3.0/24", 0)))
	for p, why := range map[string]string{"10.0.1.0/24": far, "10.0.2.0/24": "a network of tasks", "10.0.4.0/24": "the host's own address"} {
		eventually(t, p+" is reported", func() error {
			if got := s.refusal(p); len(got) == 0 || !strings.Contains(got[0].Reason, why) {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
	}
	ip(t, "route add 203.0.113.0/24 via 198.51.100.2")
	eventually(t, "by the gateway", kernelHas(t, via("10.0.3.0/24", 0), via("10.0.1.0/24", 0)))
	ip(t, "route del 203.0.113.0/24")
	eventually(t, "without it", kernelHas(t, via("10.0.3.0/24", 0)))
}

// What someone does to the learned routes is found and mended; what is not
// ours stays, also with our metric.
func TestDrift(t *testing.T) {
	noLeaks(t)
	newRouter(t, 0).start(64512, 64512, "", "10.0.1.0/24", "10.0.2.0/24")
	hurried := make(chan struct{}, 1)
	s := speak(t, bgp.Config{Changed: func() {
		select {
		case hurried <- struct{}{}:
		default:
		}
	}})
	s.apply(config(peerOn(0, 64512)))
	want := []string{via("10.0.1.0/24", 0), via("10.0.2.0/24", 0)}
	eventually(t, "learned", kernelHas(t, want...))
	if drift, failures, err := s.Sync(); err != nil || len(drift)+len(failures) > 0 {
		t.Fatalf("nothing was done, and: %q, %v, %v", drift, failures, err)
	}
	for harm, says := range map[string]string{
		"route del 10.0.1.0/24 proto 85":                                "10.0.1.0/24 was missing",
		"route replace 10.0.2.0/24 via 198.51.100.9 proto 85 metric 85": "10.0.2.0/24 was another",
		"route add 10.0.8.0/24 via 198.51.100.2 proto 85 metric 85":     "10.0.8.0/24 was there but not wanted",
		"route add 10.0.8.0/24 via 198.51.100.2 proto static metric 85": "",
		"route add 10.0.1.0/24 via 198.51.100.2 proto static":           "",
	} {
		select {
		case <-hurried:
		default:
		}
		ip(t, harm)
		if strings.Contains(harm, " del ") {
			select {
			case <-hurried:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: nobody was told", harm)
			}
		}
		drift, failures, err := s.Sync()
		if err != nil || len(failures) > 0 || !strings.Contains(strings.Join(drift, "; "), says) || says == "" && len(drift) > 0 {
			t.Errorf("%s: %q, %v, %v", harm, drift, failures, err)
		}
		if err := kernelHas(t, want...)(); err != nil {
			t.Errorf("%s: %v", harm, err)
		}
		if strings.Contains(harm, "static") {
			del := strings.Replace(harm, "add", "del", 1)
			ip(t, del) // it is still there, or this fails
		}
	}
	// The kernel drops routes with a link and says nothing.
	ip(t, "link set up0 down")
	ip(t, "link set up0 up")
	eventually(t, "back after the link", func() error {
		if _, _, err := s.Sync(); err != nil {
			return err
		}
		return kernelHas(t, want...)()
	})
}
