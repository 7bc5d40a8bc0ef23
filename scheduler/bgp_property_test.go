package scheduler

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

func bgpResource(kind, name, annotations, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"projectcalico.org/v3","kind":%q,"metadata":{"name":%q,"annotations":{%s}},"spec":{%s}}`, kind, name, annotations, spec)
}

var (
	bgpPut = []string{
		bgpResource("BGPConfiguration", "default", ``, ``),
		bgpResource("BGPConfiguration", "default", `"taskwall/hosts":"rack == 'a'"`, `"asNumber":64513`),
		bgpResource("BGPConfiguration", "default", `"taskwall/route-reflectors":"taskwall/host == 'h1'","taskwall/route-reflector-cluster-id":"10.0.0.1"`,
			`"nodeToNodeMeshEnabled":false,"prefixAdvertisements":[{"cidr":"10.8.0.0/16","communities":["64512:1"]}]`),
		bgpResource("BGPConfiguration", "node.h2", `"taskwall/route-reflector-cluster-id":"10.0.0.2"`, `"asNumber":64520,"listenPort":1179`),
		bgpResource("BGPConfiguration", "site-b", `"taskwall/hosts":"rack == 'b'"`, `"asNumber":64530`),
		bgpResource("BGPPeer", "racks", `"taskwall/hold-time":"9s"`, `"nodeSelector":"rack == 'a'","peerSelector":"rack == 'b'"`),
		bgpResource("BGPPeer", "reflectors", ``, `"peerSelector":"has(taskwall/route-reflector)"`),
		bgpResource("BGPPeer", "tor", ``, `"node":"h3","peerIP":"192.0.2.1","asNumber":64600`),
		bgpResource("BGPPeer", "also-h1", ``, `"peerIP":"192.168.50.1","asNumber":64600`),
		bgpResource("GlobalNetworkSet", "office", ``, `"nets":["192.0.2.0/24","192.0.2.0/25","0.0.0.0/0"]`),
	}
	bgpDelete = []events.ResourceKey{
		{Kind: "BGPConfiguration", Name: "default"}, {Kind: "BGPConfiguration", Name: "node.h2"},
		{Kind: "BGPConfiguration", Name: "site-b"}, {Kind: "BGPPeer", Name: "racks"},
		{Kind: "BGPPeer", Name: "reflectors"}, {Kind: "IPPool", Name: "main"},
	}
)

// bgpStep draws a change of what hosts are told of BGP.
func bgpStep(t *rapid.T) *events.PolicyChange {
	change := &events.PolicyChange{Author: "ann"}
	if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
		change.Delete = append(change.Delete, rapid.SampledFrom(bgpDelete).Draw(t, "which"))
	} else {
		change.Put = append(change.Put, must(rapid.SampledFrom(bgpPut).Draw(t, "what")))
	}
	return change
}

func speaksOracle(s *State, h *host) bool {
	return s.bgp.rules.speaks(s.labels(h))
}

// takesPart says who can be a peer.
func takesPart(s *State, h *host) bool {
	return speaksOracle(s, h) && h.joined && h.address.IsValid() && len(h.agents) > 0
}

// bgpOracle says how a host should speak BGP by looking at every pair of hosts,
// whatever was kept of it.
func bgpOracle(s *State, h *host) *work.BGP {
	if !speaksOracle(s, h) || !h.joined || !h.address.IsValid() {
		return nil
	}
	fresh := newRules(s.resolver.BGP())
	fresh.learn(s.networks())
	own := s.labels(h)
	b := &work.BGP{ASN: fresh.asn(own), RouterID: h.address, Port: fresh.port(own), Accept: fresh.accept, Pools: fresh.pools,
		Drain: h.drain != nil && h.drain.On}
	if !takesPart(s, h) {
		return b
	}
	for _, block := range s.addrs.blocks {
		if block.Host == h.name {
			b.Announce = append(b.Announce, work.Announcement{Prefix: block.Prefix, Communities: fresh.communities(own, block.Prefix)})
		}
	}
	slices.SortFunc(b.Announce, func(x, y work.Announcement) int { return x.Prefix.Compare(y.Prefix) })
	taken := map[netip.Addr]bool{h.address: true}
	for _, name := range events.SortedKeys(s.hosts) {
		other := s.hosts[name]
		if other == h || !takesPart(s, other) {
			continue
		}
		theirs := s.labels(other)
		for _, p := range fresh.peerings {
			hereLocal, hereRemote := p.sides(h, own)
			thereLocal, thereRemote := p.sides(other, theirs)
			if p.router.IsValid() || !(hereLocal && thereRemote || hereRemote && thereLocal) {
				continue
			}
			peer := p.session
			peer.Name, peer.Address, peer.ASN, peer.Port = p.name+"/"+name, other.address, fresh.asn(theirs), fresh.port(theirs)
			if peer.Port == 179 {
				peer.Port = 0
			}
			if peer.ASN == b.ASN && own.ClusterID != "" && own.ClusterID != theirs.ClusterID {
				peer.ClusterID = netip.MustParseAddr(own.ClusterID)
			}
			b.Peers, taken[other.address] = append(b.Peers, peer), true
			break
		}
	}
	for _, p := range fresh.peerings {
		if local, _ := p.sides(h, s.labels(h)); !p.router.IsValid() || !local || taken[p.router] {
			continue
		}
		peer := p.session
		peer.Name, peer.Address, peer.ASN = p.name, p.router, p.asn
		if peer.ASN != b.ASN {
			peer.Export = p.abroad
		}
		b.Peers = append(b.Peers, peer)
	}
	slices.SortFunc(b.Peers, func(x, y work.BGPPeer) int { return strings.Compare(x.Name, y.Name) })
	return b
}
