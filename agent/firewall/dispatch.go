package firewall

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// postures numbers the postures of the host. A number in a packet's mark names
// a posture; 0 names none.
type postures struct {
	index map[string]uint16
	used  map[uint16]string
	next  uint16 // every number below is taken
}

func newPostures() *postures {
	return &postures{index: map[string]uint16{}, used: map[uint16]string{}, next: 1}
}

// assign gives a posture the smallest free number, unless it has one.
func (p *postures) assign(id string) error {
	if _, ok := p.index[id]; ok {
		return nil
	}
	for p.next <= indexMask {
		n := p.next
		p.next++
		if _, taken := p.used[n]; !taken {
			p.index[id], p.used[n] = n, id
			return nil
		}
	}
	return ErrFull
}

func (p *postures) release(id string) {
	if n, ok := p.index[id]; ok {
		delete(p.index, id)
		delete(p.used, n)
		p.next = min(p.next, n)
	}
}

// hand gives a posture's number to another that has none.
func (p *postures) hand(from, to string) {
	n := p.index[from]
	delete(p.index, from)
	p.index[to], p.used[n] = n, to
}

// leaf is what a tree's rule for one posture looks like when read back.
var leaf = regexp.MustCompile(`^-m mark --mark 0x([0-9a-f]+)/0x[0-9a-f]+ .*-g tw-[ei]-([a-z0-9]+)$`)

// adopt takes over the numbers that the kernel's trees use: a restart need not
// rewrite them, and while it writes what one of them lost, no endpoint meets another
// posture by its old number.
func (p *postures) adopt(have chains) {
	for _, d := range []direction{egress, ingress} {
		for _, name := range slices.Sorted(maps.Keys(have)) {
			if name != d.name && !strings.HasPrefix(name, d.name+"-") {
				continue
			}
			for _, r := range have[name] {
				m := leaf.FindStringSubmatch(r)
				if m == nil {
					continue
				}
				n, err := strconv.ParseUint(m[1], 16, 32)
				if n >>= d.shift; err != nil || n == 0 || n > indexMask {
					continue
				}
				_, known := p.index[m[2]]
				if _, taken := p.used[uint16(n)]; !known && !taken {
					p.index[m[2]], p.used[uint16(n)] = uint16(n), m[2]
				}
			}
		}
	}
}

// fanOut is how many branches a node of the tree has at most: 3 bits a level.
const (
	levelBits = 3
	fanOut    = 1 << levelBits
)

// tree renders the direction's dispatch tree: chains that take a packet from
// its mark to its posture's chain. A node holds postures directly while they
// are few, else one branch for each value of the next bits, lowest first:
// numbers are handed out densely, so the tree stays balanced. about says, for
// people, which policies a posture stands for.
func (d direction) tree(used map[uint16]string, about func(id string) string) chains {
	out := chains{}
	d.node(out, used, slices.Sorted(maps.Keys(used)), 0, 0, about)
	return out
}

func (d direction) node(out chains, used map[uint16]string, members []uint16, level uint, bits uint16, about func(string) string) string {
	name := d.name
	if level > 0 {
		name = fmt.Sprintf("%s-%d-%x", d.name, level, bits)
	}
	var rs rules
	if len(members) <= fanOut {
		for _, n := range members {
			id := used[n]
			rs = append(rs, fmt.Sprintf("-m mark --mark %#x/%#x%s -g %s", uint32(n)<<d.shift, d.mask(),
				comment("posture "+id+": "+about(id)), d.postureChain(id, 0)))
		}
	} else {
		branches := make([][]uint16, fanOut)
		for _, n := range members {
			b := n >> (level * levelBits) & (fanOut - 1)
			branches[b] = append(branches[b], n)
		}
		mask := uint32(1)<<((level+1)*levelBits) - 1
		for b, ms := range branches {
			if len(ms) == 0 {
				continue
			}
			low := bits | uint16(b)<<(level*levelBits)
			child := d.node(out, used, ms, level+1, low, about)
			rs = append(rs, fmt.Sprintf("-m mark --mark %#x/%#x -g %s", uint32(low)<<d.shift, mask<<d.shift, child))
		}
	}
	out[name] = append(rs, "-g "+chainClosed)
	return name
}
