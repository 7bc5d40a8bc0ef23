package policy

import (
	"cmp"
	"encoding/binary"
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

func (m member) compare(o member) int {
	return cmp.Or(cmp.Compare(m.addr, o.addr), cmp.Compare(m.port, o.port), cmp.Compare(m.bits, o.bits), cmp.Compare(m.proto, o.proto))
}

// texts are members as text, sorted.
func texts(members []member) []string {
	// One backing string for all: a set of 100,000 is one allocation, not as many.
	var fewEnds [8]int // most are of one or two
	var fewBytes [128]byte
	ends := slices.Grow(fewEnds[:0], len(members))
	buf := slices.Grow(fewBytes[:0], 12*len(members))
	for _, m := range members {
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
	// before are the members touched since the last Flush, in that order: what the
	// first word on one says, it was then.
	before []touch
}

// touch says of a member whether it was in a set before it came or left.
type touch struct {
	member
	was bool
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
	if s.told {
		s.before = append(s.before, touch{m, was})
	}
}

// edit is what changed since the last Flush; false when nothing did.
func (s *set) edit() (work.SetEdit, bool) {
	slices.SortStableFunc(s.before, func(a, b touch) int { return a.compare(b.member) })
	var fewAdded, fewRemoved [8]member
	added, removed := fewAdded[:0], fewRemoved[:0]
	for i, t := range s.before {
		if i > 0 && t.member == s.before[i-1].member {
			continue
		}
		if is := s.members[t.member] > 0; is && !t.was {
			added = append(added, t.member)
		} else if t.was && !is {
			removed = append(removed, t.member)
		}
	}
	if s.before = s.before[:0]; cap(s.before) > maxTouched {
		s.before = nil
	}
	e := work.SetEdit{ID: s.id}
	if len(added) > 0 {
		e.Add = texts(added)
	}
	if len(removed) > 0 {
		e.Remove = texts(removed)
	}
	return e, len(added)+len(removed) > 0
}

// maxTouched bounds the room that a set keeps for its touched members.
const maxTouched = 8

func (s *set) work() work.Set {
	members := slices.AppendSeq(make([]member, 0, len(s.members)), maps.Keys(s.members))
	return work.Set{ID: s.id, Type: s.kind, Origin: s.origin, Members: texts(members)}
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
