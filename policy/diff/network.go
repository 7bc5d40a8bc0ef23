package diff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// elsewhere stands for every address that no policy names: it is of a range
// that is reserved (RFC 1112), so nobody has it.
var elsewhere = netip.AddrFrom4([4]byte{240, 0, 0, 1})

// networks are classes for the networks of network sets and of rules, each
// with an address of its own, and one for every other address.
func networks(a, b side) []class {
	names := map[netip.Prefix][]string{}
	for _, s := range []side{a, b} {
		for _, raw := range s.Resolver.Resources() {
			typed, err := resource.Parse(raw)
			if err != nil {
				continue // it is in force, so it parses
			}
			switch t := typed.(type) {
			case *resource.Set:
				add(names, t.Spec.Nets, t.Metadata.Name)
			case *resource.Policy:
				for _, rules := range [][]resource.Rule{t.Spec.Ingress, t.Spec.Egress} {
					for i := range rules {
						for _, e := range []*resource.Entity{&rules[i].Source, &rules[i].Destination} {
							add(names, e.Nets, "")
							add(names, e.NotNets, "")
						}
					}
				}
			}
		}
	}
	taken := map[netip.Addr]bool{}
	for _, e := range b.Endpoints() {
		taken[e.Address] = true
	}
	sorted := make([]netip.Prefix, 0, len(names))
	for p := range names {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, func(x, y netip.Prefix) int { // small ones first: they choose their address first
		if x.Bits() != y.Bits() {
			return y.Bits() - x.Bits()
		}
		return x.Addr().Compare(y.Addr())
	})
	var classes []class
	network := func(name string, at netip.Addr) {
		c := class{Group: Group{Network: name}, party: policy.Party{Address: at}}
		c.member(a, b, a.of(at), b.of(at))
		classes = append(classes, c)
	}
	for _, p := range sorted {
		at := p.Addr()
		for p.Bits() < 32 && taken[at] && p.Contains(at.Next()) {
			at = at.Next()
		}
		if taken[at] {
			continue // an endpoint, or a smaller network, stands for it
		}
		taken[at] = true
		name := p.String()
		if list := names[p]; len(list) > 0 {
			name += " (" + strings.Join(list, ", ") + ")"
		}
		network(name, at)
	}
	if !taken[elsewhere] {
		network("any other address", elsewhere)
	}
	return classes
}

func add(names map[netip.Prefix][]string, nets []string, name string) {
	for _, text := range nets {
		p, err := resource.ParseNet(text)
		if err != nil || !p.Addr().Is4() || p.Bits() == 0 { // everything: "any other address"
			continue
		}
		if list := names[p]; name != "" && !slices.Contains(list, name) {
			names[p] = append(list, name)
		} else if list == nil {
			names[p] = nil
		}
	}
}

// interest is what rules look at: the protocols that they name, the ports at
// which ranges begin and end, and the ICMP types and codes.
type interest struct {
	protocols []int
	starts    []int // first ports of ranges, and the ports after their last
	types     []int
	codes     []int // each the type times codesOfType plus the code
}

const codesOfType = 256

func (in *interest) note(tiers []work.Tier) {
	for _, t := range tiers {
		for i := range t.Rules {
			r := &t.Rules[i]
			for _, p := range []int{r.Protocol, r.NotProtocol} {
				if p != 0 {
					in.protocols = append(in.protocols, p)
				}
			}
			for _, ranges := range [][]work.PortRange{r.Dest.Ports, r.Dest.NotPorts} {
				for _, p := range ranges {
					in.starts = append(in.starts, int(p.First), int(p.Last)+1)
				}
			}
			for _, icmp := range []*work.ICMP{r.ICMP, r.NotICMP} {
				if icmp != nil {
					in.types = append(in.types, icmp.Type)
					if icmp.Code != nil {
						in.codes = append(in.codes, icmp.Type*codesOfType+*icmp.Code)
					}
				}
			}
		}
	}
}

func (g *Group) String() string {
	switch {
	case g.Network != "":
		return g.Network
	case g.Environment == "":
		return fmt.Sprintf("%s (%s)", g.App, g.tasks())
	}
	return fmt.Sprintf("%s (%s, %s)", g.App, g.Environment, g.tasks())
}

func (g *Group) tasks() string {
	switch {
	case g.Tasks < g.Of:
		return fmt.Sprintf("%d of %d tasks", g.Tasks, g.Of)
	case g.Tasks == 1:
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", g.Tasks)
}
