package ipset

import (
	"fmt"
	"net/netip"
)

// Type is a kernel set type with the extensions that we use it with.
type Type string

// The types of set.
const (
	Net      Type = "hash:net"
	IPPort   Type = "hash:ip,port"
	NetIface Type = "hash:net,iface" // with skbinfo: an element carries a mark
)

// revision is the oldest revision of each type that has what we use, so that
// older kernels will do: hash:net,iface has skbinfo since revision 6 (Linux 3.18).
func (t Type) revision() uint8 {
	switch t {
	case NetIface:
		return 6
	case IPPort:
		return 4
	}
	return 5
}

// maxElements bounds each set that we create. The kernel's default of 65,536
// is less than a large cluster's tasks; the number reserves no memory.
const maxElements = 1 << 20

// Entry is one element. Which fields count depends on the set's type; the
// others are zero, so that entries can be compared and used as map keys.
type Entry struct {
	Prefix netip.Prefix // IPv4; for IPPort a /32
	Proto  uint8        // IPPort: IANA protocol number
	Port   uint16       // IPPort
	Iface  string       // NetIface
	Mark   uint32       // NetIface: value that SET --map-mark writes…
	Mask   uint32       // …into these bits of the packet's mark
	// Flags make of an element something else: an exception ("nomatch"), that
	// is, what is no member. None that we add has any.
	Flags uint32
}

// String is the element as the ipset tool would show it.
func (e Entry) String() string {
	s := e.Prefix.String()
	if e.Prefix.IsSingleIP() {
		s = e.Prefix.Addr().String()
	}
	if e.Port != 0 || e.Proto != 0 {
		s += fmt.Sprintf(",%d:%d", e.Proto, e.Port)
	}
	if e.Iface != "" {
		s += "," + e.Iface
	}
	if e.Flags != 0 {
		s += fmt.Sprintf(" flags %#x", e.Flags)
	}
	if e.Mask != 0 {
		s += fmt.Sprintf(" skbmark %#x/%#x", e.Mark, e.Mask)
	}
	return s
}

// Header describes a set without its elements.
type Header struct {
	Name       string
	Type       Type
	References int
}

// Set is a set with its elements.
type Set struct {
	Header
	Entries []Entry
}

// Edit adds elements to a set or removes them. Adding one that is there
// updates its mark; removing one that is not there changes nothing.
type Edit struct {
	Set     string
	Type    Type
	Remove  bool
	Entries []Entry
}
