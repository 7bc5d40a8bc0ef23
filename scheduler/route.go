package scheduler

import (
	"net/netip"

	"github.com/taskwall/taskwall/events/work"
)

// way is a host's static route to a block: to the block's host or, for its
// own, nowhere else. There is none to a block whose host has no known address,
// nor between two hosts that both speak BGP. A host that has left the cluster
// counts as it did before: what it held is nobody's until it is handed over.
func (s *State) way(h *host, prefix netip.Prefix, holder string) (work.Route, bool) {
	r := work.Route{Prefix: prefix, Host: holder}
	if holder == h.name {
		return r, true
	}
	other := s.hosts[holder]
	r.Via = other.address
	return r, r.Via.IsValid() && !(h.speaks && other.speaks)
}

// announce tells every host that a block is new to its host, or that its host
// has another address.
func (s *State) announce(b *batch, block *block) {
	before := block.before
	block.before = ""
	for _, h := range s.hosts {
		had := false
		if before != "" {
			_, had = s.way(h, block.Prefix, before)
		}
		s.route(b, h, block, had)
	}
	s.bgp.dirty[s.hosts[block.Host]] = true
	if before != "" {
		s.bgp.dirty[s.hosts[before]] = true
	}
}

// route tells one host its static route to a block or, if it had one and has
// none now, that there is none.
func (s *State) route(b *batch, h *host, block *block, had bool) {
	if r, ok := s.way(h, block.Prefix, block.Host); ok {
		b.putRoute(h, r)
	} else if had {
		b.dropRoute(h, block.Prefix)
	}
}

// routes are all static routes of a host.
func (s *State) routes(h *host) map[netip.Prefix]work.Route {
	all := map[netip.Prefix]work.Route{}
	for p, block := range s.addrs.blocks {
		if r, ok := s.way(h, p, block.Host); ok {
			all[p] = r
		}
	}
	return all
}
