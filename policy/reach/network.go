package reach

import (
	"net/netip"
	"slices"
)

// everywhere is the network of all addresses.
var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// node is a network without those inside it, its parts: addresses that no rule
// can tell apart.
type node struct {
	prefix netip.Prefix
	class  *class
	names  []string // of the network sets that list it, or one around it
	parent *node
	parts  []*node
	empty  bool // its parts and endpoints have all of its addresses
}

// networks are the networks that anything names, and the rest of all addresses;
// with a side, those of the side.
func (x *Index) networks(side []netip.Prefix) []party {
	prefixes := []netip.Prefix{everywhere}
	for p := range x.nets {
		prefixes = append(prefixes, p)
	}
	for i, p := range side {
		if side[i] = p.Masked(); p.Addr().Is4() {
			prefixes = append(prefixes, p.Masked())
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare) // a network before its parts
	var around []*node
	var nodes []*node
	for _, p := range slices.Compact(prefixes) {
		for len(around) > 0 && !around[len(around)-1].prefix.Contains(p.Addr()) {
			around = around[:len(around)-1]
		}
		n := &node{prefix: p, class: &class{}}
		if len(around) > 0 {
			n.parent = around[len(around)-1]
			n.parent.parts = append(n.parent.parts, n)
			n.class.sets, n.names = slices.Clone(n.parent.class.sets), slices.Clone(n.parent.names)
		}
		if net := x.nets[p]; net != nil {
			n.class.sets = append(n.class.sets, net.sets...)
			n.names = append(n.names, net.names...)
			slices.Sort(n.class.sets)
			n.class.sets = slices.Compact(n.class.sets)
			slices.Sort(n.names)
			n.names = slices.Compact(n.names)
		}
		around = append(around, n)
		nodes = append(nodes, n)
	}
	var list []party
	for _, n := range nodes {
		if n.empty = x.free(n) <= 0; n.empty {
			continue
		}
		if len(side) == 0 || slices.ContainsFunc(side, func(s netip.Prefix) bool { return s.Overlaps(n.prefix) && s.Bits() <= n.prefix.Bits() }) {
			list = append(list, party{class: n.class, node: n})
		}
	}
	return list
}

// free is how many addresses are in a network, in none of its parts, and no
// endpoint's.
func (x *Index) free(n *node) int {
	free := size(n.prefix) - x.endpointsIn(n.prefix)
	for _, p := range n.parts {
		free -= size(p.prefix) - x.endpointsIn(p.prefix)
	}
	return free
}

func size(p netip.Prefix) int { return 1 << (32 - p.Bits()) }

func (x *Index) endpointsIn(p netip.Prefix) int {
	first, _ := slices.BinarySearchFunc(x.taken, p.Addr(), netip.Addr.Compare)
	n, _ := slices.BinarySearchFunc(x.taken[first:], p, func(a netip.Addr, p netip.Prefix) int {
		if p.Contains(a) {
			return -1
		}
		return 1
	})
	return n
}

// answer is what is between a class of endpoints and a network.
type answer struct {
	peer *class
	node *node
}

// said reports whether the network around has the same answer, so that this one
// adds nothing: it has no name of its own either.
func (n *node) said(peer *class, spans string, answers map[answer]string) bool {
	p := n.parent
	for p != nil && p.empty {
		p = p.parent
	}
	return p != nil && answers[answer{peer, p}] == spans && slices.Equal(n.names, p.names)
}

// except are the parts with another answer.
func (n *node) except(peer *class, spans string, answers map[answer]string) []string {
	var list []string
	for _, p := range n.parts {
		if !p.empty && answers[answer{peer, p}] != spans {
			list = append(list, p.prefix.String())
		} else {
			list = append(list, p.except(peer, spans, answers)...)
		}
	}
	return list
}
