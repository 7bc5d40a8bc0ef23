package bgp

import (
	"fmt"
	"net/netip"

	"github.com/taskwall/taskwall/events/work"
)

// admission says which networks may be learned, whoever offers them.
type admission struct {
	accept   []netip.Prefix
	pools    []netip.Prefix
	announce []work.Announcement
	host     []netip.Addr // the host's own addresses
}

// reserved never hold a task nor anything else beyond a router (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// refuse says why a network must not be learned; "" when it may be.
func (a *admission) refuse(p netip.Prefix) string {
	switch {
	case !p.IsValid() || !p.Addr().Is4():
		return "it is no IPv4 network"
	case p.Bits() == 0:
		return "a default route is never learned"
	}
	for _, r := range reserved {
		if r.Overlaps(p) {
			return "it is in reserved " + r.String()
		}
	}
	for _, h := range a.host {
		if p.Contains(h) {
			return "it covers the host's own address " + h.String()
		}
	}
	for _, an := range a.announce {
		switch own := an.Prefix; {
		case own == p:
			return "it is the host's own"
		// One address of the block may live on another host; a part of it may not.
		case within(own, p) && !p.IsSingleIP():
			return "it is a part of the host's own block " + own.String()
		}
	}
	for _, pool := range a.pools {
		if within(p, pool) {
			return "it covers the whole pool " + pool.String()
		}
	}
	for _, n := range a.accept {
		if within(n, p) {
			return ""
		}
	}
	return "it is in no network that may be learned"
}

// within says whether inner is outer or a part of it.
func within(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// decide finds the first filter that matches a network; without one it is
// accepted. remote says that a peer announced it.
func decide(filters []work.BGPFilter, p netip.Prefix, remote bool) (accept bool, by string) {
	for _, f := range filters {
		if matches(f, p, remote) {
			return f.Accept, fmt.Sprintf("filter %s rule %d", f.Filter, f.Index)
		}
	}
	return true, ""
}

func matches(f work.BGPFilter, p netip.Prefix, remote bool) bool {
	if f.Origin == originRemote && !remote {
		return false
	}
	n, invert := networks(f)
	return n.has(p) != invert
}

// originRemote is the only origin that a filter can ask for.
const originRemote = "RemotePeers"

// span is a network and how long the prefixes in it may be.
type span struct {
	prefix   netip.Prefix
	min, max int
}

func (s span) has(p netip.Prefix) bool {
	return within(s.prefix, p) && s.min <= p.Bits() && p.Bits() <= s.max
}

// networks are those that a filter names, and whether it wants all others. As
// in Calico, the lengths belong to the network: "not in" is whatever is not in
// it with such a length.
func networks(f work.BGPFilter) (s span, invert bool) {
	s.prefix = f.Prefix
	if !s.prefix.IsValid() {
		s.prefix = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	switch f.Match {
	case "Equal", "NotEqual":
		s.min, s.max = s.prefix.Bits(), s.prefix.Bits()
	default:
		s.min, s.max = max(int(f.MinLength), s.prefix.Bits()), int(f.MaxLength)
		if s.max == 0 {
			s.max = 32
		}
	}
	return s, f.Match == "NotIn" || f.Match == "NotEqual"
}
