package verdict

import (
	"net/netip"

	"github.com/taskwall/taskwall/events/work"
)

// Packet is a connection's first packet.
type Packet struct {
	Proto            uint8
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	ICMPType         uint8
	ICMPCode         uint8
}

// Sets answers membership. An unknown set has no members.
type Sets interface {
	// HasNet says whether a set of networks covers an address.
	HasNet(set string, a netip.Addr) bool
	// HasPort says whether a set of ports has an address's port.
	HasPort(set string, a netip.Addr, proto uint8, port uint16) bool
}

// Allows walks the tiers of one direction: work.Program says how.
func Allows(tiers []work.Tier, p Packet, sets Sets) bool {
tier:
	for _, t := range tiers {
		for _, r := range t.Rules {
			if !matches(r, p, sets) {
				continue
			}
			switch r.Action {
			case work.Allow:
				return true
			case work.Deny:
				return false
			case work.Pass:
				continue tier
			}
		}
	}
	return false
}

func matches(r work.Rule, p Packet, sets Sets) bool {
	proto := r.Protocol
	if proto == 0 && (r.ICMP != nil || r.NotICMP != nil) {
		proto = 1
	}
	if proto != 0 && int(p.Proto) != proto || r.NotProtocol != 0 && int(p.Proto) == r.NotProtocol {
		return false
	}
	if r.ICMP != nil && !isType(*r.ICMP, p) || r.NotICMP != nil && isType(*r.NotICMP, p) {
		return false
	}
	return side(r.Source, p.Src, p.SrcPort, p.Proto, sets) && side(r.Dest, p.Dst, p.DstPort, p.Proto, sets)
}

func isType(m work.ICMP, p Packet) bool {
	return int(p.ICMPType) == m.Type && (m.Code == nil || int(p.ICMPCode) == *m.Code)
}

func side(m work.Match, a netip.Addr, port uint16, proto uint8, sets Sets) bool {
	for _, s := range m.Sets {
		if !sets.HasNet(s, a) {
			return false
		}
	}
	for _, s := range m.NotSets {
		if sets.HasNet(s, a) {
			return false
		}
	}
	if inRanges(m.NotPorts, port) {
		return false
	}
	for _, s := range m.NotPortSets {
		if sets.HasPort(s, a, proto, port) {
			return false
		}
	}
	if len(m.Ports) == 0 && len(m.PortSets) == 0 || inRanges(m.Ports, port) {
		return true
	}
	for _, s := range m.PortSets {
		if sets.HasPort(s, a, proto, port) {
			return true
		}
	}
	return false
}

func inRanges(rs []work.PortRange, port uint16) bool {
	for _, r := range rs {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}
