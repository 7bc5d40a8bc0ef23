package scheduler

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// bgp finds how each host speaks BGP. All of it follows from the rest of the
// state; it is kept so that an event costs what it changes:
//
//	labels ─▶ does the host speak? ─▶ seat: what others see of it ─▶ picture
//	rules ────┘                       └─ marks those whose picture has it
type bgp struct {
	rules *rules
	moved map[*host]bool // whose seat must be looked at again
	dirty map[*host]bool // whose picture must be made again
	all   bool           // everybody's
}

func newBGPState() *bgp {
	return &bgp{rules: &rules{}, moved: map[*host]bool{}, dirty: map[*host]bool{}}
}

// seat is what others see of a host that takes part in BGP.
type seat struct {
	address netip.Addr
	asn     uint32
	port    uint16
	cluster string
	// takes says which sides of the peerings the host is on, two bits each.
	takes string
}

// reconfigure takes in a change of the policies, if it has to do with BGP.
func (s *State) reconfigure(b *batch, c *events.PolicyChange) {
	concerns := func(kind string) bool {
		switch kind {
		case resource.KindBGPConfiguration, resource.KindBGPPeer, resource.KindBGPFilter,
			resource.KindIPPool, resource.KindNetworkSet, resource.KindGlobalNetworkSet:
			return true
		}
		return false
	}
	if slices.ContainsFunc(c.Put, func(r events.Resource) bool { return concerns(r.Kind) }) ||
		slices.ContainsFunc(c.Delete, func(k events.ResourceKey) bool { return concerns(k.Kind) }) {
		s.loadBGP(b)
	}
}

// loadBGP makes the rules anew, and with them everything.
func (s *State) loadBGP(b *batch) {
	conf := s.resolver.BGP()
	if len(conf.Configurations) == 0 && len(conf.Sites) == 0 && s.bgp.rules.none() {
		return // nobody speaks, nobody did
	}
	r := newRules(conf)
	r.learn(s.networks())
	s.bgp.rules, s.bgp.all = r, true
	for _, h := range s.hosts {
		h.seat = nil
		s.bgp.moved[h] = true
	}
	s.convert(b, slices.Collect(maps.Values(s.hosts)))
}

// shortest is the prefix length of the largest network that is learned because
// a network set has it. A set that stands for the whole world says what tasks
// may reach, not that a peer may offer the way there.
const shortest = 8

// networks are those that may be learned, and the pools among them. A block
// may outlive its pool.
func (s *State) networks() (accept, pools []netip.Prefix) {
	for _, p := range s.resolver.Pools() {
		pools = append(pools, p.CIDR)
	}
	accept = slices.Clone(pools)
	for p := range s.addrs.blocks {
		accept = append(accept, p)
	}
	for _, p := range s.resolver.SetNetworks() {
		if p.Bits() >= shortest {
			accept = append(accept, p)
		}
	}
	slices.SortFunc(pools, netip.Prefix.Compare)
	return cover(accept), slices.Compact(pools)
}

// convert gives hosts the mode that the rules and their labels give them. One
// that changes it is told everything anew, others which of its blocks are now
// routed statically, or no longer.
func (s *State) convert(b *batch, hosts []*host) {
	changed := map[*host]bool{}
	for _, h := range hosts {
		l := s.labels(h)
		if on := s.bgp.rules.speaks(l); on != h.speaks {
			h.speaks, changed[h] = on, true
		}
	}
	if len(changed) == 0 {
		return
	}
	for _, h := range s.hosts {
		switch {
		case changed[h]:
			b.of(h).snapshot = true
		case h.speaks:
			for x := range changed {
				for _, block := range s.addrs.byHost[x.name] {
					s.route(b, h, block, x.speaks)
				}
			}
		}
	}
}

// look is to be called when a host may have changed: its labels, its address,
// whether it is in the cluster or has an agent.
func (s *State) look(b *batch, h *host) {
	if len(h.agents) > 0 {
		h.attributes = s.attributes(h)
	}
	s.convert(b, []*host{h})
	s.bgp.moved[h] = true
}

func (s *State) labels(h *host) policy.Host {
	l := policy.Host{Name: h.name, Attributes: h.attributes}
	l.ClusterID = s.bgp.rules.cluster(l)
	return l
}

// speak brings every host's picture up to date and tells those whose picture
// changed.
func (s *State) speak(b *batch) {
	for h := range s.bgp.moved {
		s.sit(h)
	}
	if s.bgp.all {
		for _, h := range s.hosts {
			s.bgp.dirty[h] = true
		}
	}
	for h := range s.bgp.dirty {
		now := s.picture(h)
		if reflect.DeepEqual(h.bgp, now) {
			continue
		}
		c := b.of(h)
		c.bgp = true
		if now == nil {
			c.snapshot = true // only a snapshot can end it
		}
		h.bgp = now
		h.forgetSessions()
	}
	s.bgp.all = false
	clear(s.bgp.moved)
	clear(s.bgp.dirty)
}

// sit gives a host its seat and marks those who see another one than before.
func (s *State) sit(h *host) {
	now := s.newSeat(h)
	if now != nil && h.seat != nil && *now == *h.seat {
		return
	}
	s.bgp.dirty[h] = true
	s.markPeers(h)
	for i, p := range s.bgp.rules.peerings {
		delete(p.locals, h)
		delete(p.remotes, h)
		if now != nil && now.takes[i]&1 != 0 {
			p.locals[h] = true
		}
		if now != nil && now.takes[i]&2 != 0 {
			p.remotes[h] = true
		}
	}
	h.seat = now
	s.markPeers(h)
}

// markPeers marks the hosts that have sessions with a host.
func (s *State) markPeers(h *host) {
	if s.bgp.all {
		return // they are marked
	}
	for _, p := range s.bgp.rules.peerings {
		if p.locals[h] {
			for r := range p.remotes {
				s.bgp.dirty[r] = true
			}
		}
		if p.remotes[h] {
			for l := range p.locals {
				s.bgp.dirty[l] = true
			}
		}
	}
}

// newSeat is nil for a host that takes no part: its routes are static, it has
// left the cluster, or no agent of ours was ever on it.
func (s *State) newSeat(h *host) *seat {
	if !h.speaks || !h.joined || !h.address.Is4() || len(h.agents) == 0 {
		return nil
	}
	r, l := s.bgp.rules, s.labels(h)
	takes := make([]byte, len(r.peerings))
	for i, p := range r.peerings {
		local, remote := p.sides(h, l)
		if local {
			takes[i] |= 1
		}
		if remote {
			takes[i] |= 2
		}
	}
	return &seat{address: h.address, asn: r.asn(l), port: r.port(l), cluster: l.ClusterID, takes: string(takes)}
}

// picture is how a host speaks BGP; nil: not at all. A host that has left the
// cluster announces nothing and talks to nobody, should its agent still run.
func (s *State) picture(h *host) *work.BGP {
	if !h.speaks || !h.joined || !h.address.Is4() {
		return nil
	}
	r, l := s.bgp.rules, s.labels(h)
	p := &work.BGP{
		ASN: r.asn(l), RouterID: h.address, Port: r.port(l), Accept: r.accept, Pools: r.pools,
		Drain: h.drain != nil && h.drain.On,
	}
	if h.seat == nil {
		return p
	}
	p.Announce = s.announcements(h)
	met := map[netip.Addr]bool{h.address: true}
	for i, peering := range r.peerings {
		if peering.router.IsValid() {
			if h.seat.takes[i]&1 != 0 && !met[peering.router] {
				met[peering.router] = true
				p.Peers = append(p.Peers, withRouter(h, peering))
			}
			continue
		}
		for _, other := range peering.others(h) {
			if !met[other.address] {
				met[other.address] = true
				p.Peers = append(p.Peers, withHost(h, other, peering))
			}
		}
	}
	slices.SortFunc(p.Peers, func(a, b work.BGPPeer) int { return strings.Compare(a.Name, b.Name) })
	return p
}

// others are the hosts with which the peering gives a host sessions, sorted.
func (p *peering) others(h *host) []*host {
	var all []*host
	if p.locals[h] {
		for r := range p.remotes {
			all = append(all, r)
		}
	}
	if p.remotes[h] {
		for l := range p.locals {
			if !p.locals[h] || !p.remotes[l] { // else it is there already
				all = append(all, l)
			}
		}
	}
	slices.SortFunc(all, func(a, b *host) int { return strings.Compare(a.name, b.name) })
	return all
}

func withHost(h, other *host, p *peering) work.BGPPeer {
	s := p.session
	s.Name, s.Address, s.ASN, s.Port = p.name+"/"+other.name, other.address, other.seat.asn, other.seat.port
	if s.ASN == h.seat.asn && h.seat.cluster != "" && h.seat.cluster != other.seat.cluster {
		s.ClusterID = netip.MustParseAddr(h.seat.cluster)
	}
	return plainPort(s)
}

// withRouter is a session with who is not a host of ours. To a reflector a
// router in its own AS is a client, as in Calico.
func withRouter(h *host, p *peering) work.BGPPeer {
	s := p.session
	s.Name, s.Address, s.ASN = p.name, p.router, p.asn
	switch {
	case s.ASN != h.seat.asn:
		s.Export = p.abroad
	case h.seat.cluster != "":
		s.ClusterID = netip.MustParseAddr(h.seat.cluster)
	}
	return plainPort(s)
}

func plainPort(s work.BGPPeer) work.BGPPeer {
	if s.Port == uint16(resource.DefaultPort) {
		s.Port = 0
	}
	return s
}

// announcements are a host's blocks, and the addresses of its tasks that lie
// in no block of its own: where such a block was handed over, the longer prefix
// brings the packets here.
func (s *State) announcements(h *host) []work.Announcement {
	var all []work.Announcement
	l := s.labels(h)
	add := func(p netip.Prefix) {
		all = append(all, work.Announcement{Prefix: p, Communities: s.bgp.rules.communities(l, p)})
	}
	for _, block := range s.addrs.byHost[h.name] {
		add(block.Prefix)
	}
	for _, e := range h.endpoints {
		if s.strays(h, e.Address) {
			add(netip.PrefixFrom(e.Address, e.Address.BitLen()))
		}
	}
	slices.SortFunc(all, func(a, b work.Announcement) int { return a.Prefix.Compare(b.Prefix) })
	return all
}

// strays says whether an address lies in no block of its host.
func (s *State) strays(h *host, a netip.Addr) bool {
	return a.IsValid() && !slices.ContainsFunc(s.addrs.byHost[h.name], func(b *block) bool { return b.Prefix.Contains(a) })
}
