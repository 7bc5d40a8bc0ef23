package policy

import (
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

// member is an element of a set: an IPv4 network (an address is a /32), or an
// address with a protocol and port. It is kept small: a cluster has millions.
type member struct {
	addr  uint32
	port  uint16
	bits  uint8
	proto uint8 // 0 in sets of networks
}

func hostMember(a netip.Addr) (member, bool) {
	a = a.Unmap()
	if !a.Is4() {
		return member{}, false
	}
	b := a.As4()
	return member{addr: binary.BigEndian.Uint32(b[:]), bits: 32}, true
}

// network is the network that the member is or, with a port, the address of it.
func (m member) network() netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], m.addr)
	return netip.PrefixFrom(netip.AddrFrom4(b), int(m.bits))
}

// netMembers are the members for a network. The kernel's set type cannot hold
// 0.0.0.0/0, so it is two halves. IPv6 has none: endpoints are closed to it.
func netMembers(p netip.Prefix) []member {
	if !p.Addr().Is4() {
		return nil
	}
	if p.Bits() == 0 {
		return []member{{bits: 1}, {addr: 1 << 31, bits: 1}}
	}
	b := p.Masked().Addr().As4()
	return []member{{addr: binary.BigEndian.Uint32(b[:]), bits: uint8(p.Bits())}}
}

func (m member) append(b []byte) []byte {
	b = m.network().Addr().AppendTo(b)
	switch {
	case m.proto != 0:
		b = append(b, ',')
		b = append(b, portProtocols[resource.Protocol(m.proto)]...)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(m.port), 10)
	case m.bits < 32:
		b = append(b, '/')
		b = strconv.AppendUint(b, uint64(m.bits), 10)
	}
	return b
}

// texts are n members as text, sorted.
func texts(members iter.Seq[member], n int) []string {
	if n == 0 {
		return []string{}
	}
	// One backing string for all: a set of 100,000 is one allocation, not as many.
	ends := make([]int, 0, n)
	buf := make([]byte, 0, n*12)
	for m := range members {
		buf = m.append(buf)
		ends = append(ends, len(buf))
	}
	all, start := string(buf), 0
	list := make([]string, len(ends))
	for i, end := range ends {
		list[i] = all[start:end]
		start = end
	}
	slices.Sort(list)
	return list
}

var portProtocols = map[resource.Protocol]string{resource.TCP: "tcp", resource.UDP: "udp", resource.SCTP: "sctp"}

// speaks reports whether a port's protocol, such as "tcp" or "udp,tcp", is the
// one that is asked for.
func speaks(portProtocol string, p uint8) bool {
	want := portProtocols[resource.Protocol(p)]
	for text := range strings.SplitSeq(portProtocol, ",") {
		if strings.EqualFold(strings.TrimSpace(text), want) {
			return true
		}
	}
	return false
}

// set is a set of addresses that rules refer to.
type set struct {
	setSpec
	query   *query           // whose members contribute; nil for a fixed list
	users   int              // policies in force that refer to it
	members map[member]int32 // how many items contribute each
	told    bool             // the last Delta's receiver has it
	// before says, for each member touched since the last Flush, whether it was
	// in the set then.
	before map[member]bool
}

func (s *set) add(m member) {
	if s.members[m]++; s.members[m] == 1 {
		s.touch(m, false)
	}
}

func (s *set) remove(m member) {
	if s.members[m]--; s.members[m] <= 0 {
		delete(s.members, m)
		s.touch(m, true)
	}
}

func (s *set) touch(m member, was bool) {
	if !s.told {
		return
	}
	if s.before == nil {
		s.before = map[member]bool{}
	}
	if _, known := s.before[m]; !known {
		s.before[m] = was
	}
}

// edit is what changed since the last Flush; false when nothing did.
func (s *set) edit() (work.SetEdit, bool) {
	var added, removed []member
	for m, was := range s.before {
		if is := s.members[m] > 0; is && !was {
			added = append(added, m)
		} else if was && !is {
			removed = append(removed, m)
		}
	}
	s.before = nil
	e := work.SetEdit{ID: s.id}
	if len(added) > 0 {
		e.Add = texts(slices.Values(added), len(added))
	}
	if len(removed) > 0 {
		e.Remove = texts(slices.Values(removed), len(removed))
	}
	return e, len(added)+len(removed) > 0
}

func (s *set) work() work.Set {
	return work.Set{ID: s.id, Type: s.kind, Origin: s.origin, Members: texts(maps.Keys(s.members), len(s.members))}
}

// contains reports whether an address (or address, protocol and port) is in
// the set.
func (s *set) contains(addr uint32, proto uint8, port uint16) bool {
	if s.kind == work.Ports {
		return s.members[member{addr: addr, bits: 32, proto: proto, port: port}] > 0
	}
	for bits := 32; bits > 0; bits-- {
		if s.members[member{addr: addr &^ (1<<(32-bits) - 1), bits: uint8(bits)}] > 0 {
			return true
		}
	}
	return false
}
