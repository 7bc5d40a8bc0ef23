package reach_test

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/oracle"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/reach"
)

var seeds = flag.Int("seeds", 6, "number of random clusters to compare")

// What a packet may ask for: at, before and after every port that the random
// policies name.
var (
	protocols   = []int{6, 17, 132, 1, 47, 99}
	ports       = []uint16{0, 79, 80, 81, 442, 443, 444, 8079, 8080, 8081, 8999, 9000, 9001, 65535}
	sourcePorts = []uint16{0, 80, 81, 443, 444, 8080, 8081, 9000, 9001, 40000}
	icmpTypes   = []uint16{0x000, 0x001, 0x002, 0x800, 0x801, 0x809, 0x301} // type and code
	outside     = []string{"192.0.2.7", "192.0.2.8", "198.51.100.1", "10.0.0.250", "10.1.0.1", "10.0.0.5", "0.0.0.1"}
)

// asks are the packets between two parties, by what they ask for.
func asks(from, to policy.Party, protocol int, visit func(asked uint16, p policy.Packet)) {
	p := policy.Packet{From: from, To: to, Protocol: protocol}
	switch protocol {
	case 6, 17, 132:
		for _, p.DstPort = range ports {
			for _, p.SrcPort = range sourcePorts {
				visit(p.DstPort, p)
			}
		}
	case 1:
		for _, n := range icmpTypes {
			p.ICMPType, p.ICMPCode = int(n>>8), int(n&0xff)
			visit(n, p)
		}
	default:
		visit(0, p)
	}
}

// covered reports whether flows say that the sender may ask the receiver for it.
func covered(flows []reach.Flow, from, to policy.Party, protocol int, asked, source uint16) bool {
	for i := range flows {
		if !holds(&flows[i].From, from) || !holds(&flows[i].To, to) {
			continue
		}
		for _, s := range flows[i].Spans {
			is := int(s.Protocol) == protocol
			if s.Protocol == reach.Other {
				is = !slices.Contains([]int{6, 17, 1}, protocol) && !slices.Contains(s.Not, reach.Protocol(protocol))
			}
			if !is || s.Protocol != reach.Other && (asked < s.First || asked > s.Last) {
				continue
			}
			open := len(s.Sources) == 0
			for _, r := range s.Sources {
				open = open || r.First <= source && source <= r.Last
			}
			if open {
				return true
			}
		}
	}
	return false
}

func holds(g *reach.Group, p policy.Party) bool {
	if g.Network == "" {
		return slices.Contains(g.Endpoints, p.Endpoint)
	}
	if p.Endpoint != "" || !netip.MustParsePrefix(g.Network).Contains(p.Address) {
		return false
	}
	return !slices.ContainsFunc(g.Except, func(text string) bool { return netip.MustParsePrefix(text).Contains(p.Address) })
}

// TestAgainstEveryPair compares the answers for random clusters with the
// oracle's verdict on every packet of every pair.
func TestAgainstEveryPair(t *testing.T) {
	t.Parallel()
	allowed, denied := 0, 0
	for seed := range uint64(*seeds) {
		g := policytest.Seeded(7_000_000 + seed)
		c := g.Cluster(5, 5)
		truth, err := oracle.New(c.Resources, c.Endpoints)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Resolver()
		if err != nil {
			t.Fatal(err)
		}
		x := reach.New(r, c.Endpoints)
		parties, taken := everybody(&c)
		for _, one := range parties {
			side := sideOf(one)
			to, from := x.To(side, nil), x.From(side, nil)
			for _, peer := range parties {
				if peer == one || peer.Endpoint == "" && one.Endpoint == "" {
					continue
				}
				between := x.Between(sideOf(peer), side, nil)
				for _, protocol := range protocols {
					asks(peer, one, protocol, func(asked uint16, p policy.Packet) {
						want := truth.Allowed(p)
						if got := covered(to, peer, one, protocol, asked, p.SrcPort); got != want {
							t.Fatalf("seed %d, to: %+v is %v and reach says %v\n%s\n%s", seed, p, want, got, show(to), c.Text())
						}
						if got := covered(between, peer, one, protocol, asked, p.SrcPort); got != want {
							t.Fatalf("seed %d, between: %+v is %v and reach says %v\n%s\n%s", seed, p, want, got, show(between), c.Text())
						}
						if want {
							allowed++
						} else {
							denied++
						}
					})
					asks(one, peer, protocol, func(asked uint16, p policy.Packet) {
						if want, got := truth.Allowed(p), covered(from, one, peer, protocol, asked, p.SrcPort); got != want {
							t.Fatalf("seed %d, from: %+v is %v and reach says %v\n%s\n%s", seed, p, want, got, show(from), c.Text())
						}
					})
				}
			}
		}
		if len(taken) == 0 {
			t.Fatal("no endpoints")
		}
	}
	if allowed < 5_000 || denied < 5_000 {
		t.Errorf("%d packets allowed, %d denied: the test proves little", allowed, denied)
	}
}

func sideOf(p policy.Party) reach.Side {
	if p.Endpoint == "" {
		return reach.Side{Nets: []netip.Prefix{netip.PrefixFrom(p.Address, 32)}}
	}
	return reach.Side{Endpoints: []string{p.Endpoint}}
}

// everybody is all endpoints of a cluster, and addresses that none has.
func everybody(c *policytest.Cluster) (parties []policy.Party, taken map[netip.Addr]bool) {
	taken = map[netip.Addr]bool{}
	for _, e := range c.Endpoints {
		parties = append(parties, policy.Party{Endpoint: e.ID, Address: e.Address})
		taken[e.Address] = true
	}
	for _, text := range outside {
		if a := netip.MustParseAddr(text); !taken[a] {
			parties = append(parties, policy.Party{Address: a})
		}
	}
	return parties, taken
}

// TestOnePort asks for one port: the answer is the part of the whole one that
// is about it.
func TestOnePort(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(100) {
		g := policytest.Seeded(8_000_000 + seed)
		c := g.Cluster(8, 5)
		r, err := c.Resolver()
		if err != nil {
			t.Fatal(err)
		}
		x := reach.New(r, c.Endpoints)
		side := reach.Side{Endpoints: []string{c.Endpoints[0].ID}}
		parties, _ := everybody(&c)
		for _, port := range []reach.Ports{{Protocol: 6, First: 80, Last: 80}, {Protocol: 17, First: 443, Last: 443}, {Protocol: 99}} {
			whole, part := x.To(side, nil), x.To(side, &port)
			for _, peer := range parties[1:] {
				want := covered(whole, peer, parties[0], int(port.Protocol), port.First, 40000)
				if got := covered(part, peer, parties[0], int(port.Protocol), port.First, 40000); got != want {
					t.Fatalf("seed %d: %v from %v: %v of all ports, %v by itself\n%s", seed, port, peer, want, got, c.Text())
				}
				if want {
					found++
				}
			}
			for i := range part {
				for _, s := range part[i].Spans {
					if s.Protocol != port.Protocol || s.First < port.First || s.Last > port.Last {
						t.Fatalf("seed %d: asked for %v, told of %v", seed, port, s.Ports)
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d flows: the test proves little", found)
	}
}

func show(flows []reach.Flow) string {
	s := ""
	for i := range flows {
		f := &flows[i]
		s += fmt.Sprintf("%s %v -> %s %v  %s\n", &f.From, f.From.Endpoints, &f.To, f.To.Endpoints, reach.PortsText(f.Spans))
	}
	return s
}
