package reach

import (
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

// program is a posture's program with its sets by number.
type program struct {
	posture         string
	egress, ingress []tier
	protocols       []int // that rules name
	// sources are the source ports at which ranges begin, and those after
	// their last; bound says that rules look at source ports at all.
	sources []int
	bound   bool
}

type tier []rule

type rule struct {
	action                work.Action
	protocol, notProtocol int
	icmp, notICMP         *work.ICMP
	source, dest          match
	ref                   *Rule
}

type match struct {
	sets, notSets         []int
	ports, notPorts       []work.PortRange
	portSets, notPortSets []int
}

func (x *Index) compile(p *work.Program) *program {
	out := &program{posture: p.ID}
	out.egress, out.ingress = x.tiers(p.Egress, out), x.tiers(p.Ingress, out)
	slices.Sort(out.protocols)
	out.protocols = slices.Compact(out.protocols)
	slices.Sort(out.sources)
	out.sources = slices.Compact(out.sources)
	return out
}

func (x *Index) tiers(tiers []work.Tier, p *program) []tier {
	out := make([]tier, len(tiers))
	for i := range tiers {
		for j := range tiers[i].Rules {
			r := &tiers[i].Rules[j]
			if r.Action == work.Log {
				continue
			}
			for _, proto := range []int{r.Protocol, r.NotProtocol} {
				if proto != 0 {
					p.protocols = append(p.protocols, proto)
				}
			}
			for _, ranges := range [][]work.PortRange{r.Source.Ports, r.Source.NotPorts} {
				for _, s := range ranges {
					p.sources = append(p.sources, int(s.First), int(s.Last)+1)
				}
			}
			out[i] = append(out[i], rule{
				action: r.Action, protocol: r.Protocol, notProtocol: r.NotProtocol, icmp: r.ICMP, notICMP: r.NotICMP,
				source: x.match(&r.Source), dest: x.match(&r.Dest),
				ref: &Rule{Tier: tiers[i].Name, Policy: r.Policy, Index: r.Index},
			})
			s := &r.Source
			p.bound = p.bound || len(s.Ports)+len(s.NotPorts)+len(s.PortSets)+len(s.NotPortSets) > 0
		}
	}
	return out
}

func (x *Index) match(m *work.Match) match {
	return match{
		sets: x.number(m.Sets), notSets: x.number(m.NotSets), ports: m.Ports, notPorts: m.NotPorts,
		portSets: x.number(m.PortSets), notPortSets: x.number(m.NotPortSets),
	}
}

func (x *Index) number(ids []string) []int {
	var out []int
	for _, id := range ids {
		n, known := x.numbers[id]
		if !known {
			n = len(x.numbers)
			x.numbers[id] = n
		}
		out = append(out, n)
	}
	return out
}

// parseNamed reads "tcp:8080", as a set of ports has it.
func parseNamed(set int, text string) namedPort {
	protocol, number, _ := strings.Cut(text, ":")
	p, _ := resource.ParseProtocol(protocol) // the resolver wrote it
	n, _ := strconv.ParseUint(number, 10, 16)
	return namedPort{set, int(p), uint16(n)}
}

// matches says whether a rule may match at all, whatever the port that is asked
// for: by protocol, both addresses and the source port.
func (r *rule) matches(from, to *class, protocol, source int) bool {
	switch {
	case r.protocol != 0 && r.protocol != protocol,
		r.notProtocol != 0 && r.notProtocol == protocol,
		r.icmp != nil && protocol != icmp:
		return false
	}
	return r.source.holds(from) && r.dest.holds(to) && contains(r.source.asked(from, protocol), source)
}

func (m *match) holds(c *class) bool {
	for _, s := range m.sets {
		if _, in := slices.BinarySearch(c.sets, s); !in {
			return false
		}
	}
	for _, s := range m.notSets {
		if _, in := slices.BinarySearch(c.sets, s); in {
			return false
		}
	}
	return true
}

// asked are the ports that one side of a rule matches at a class.
func (m *match) asked(c *class, protocol int) []span {
	out := all
	if len(m.ports)+len(m.portSets) > 0 {
		out = listed(m.ports, m.portSets, c, protocol)
	}
	if len(m.notPorts)+len(m.notPortSets) > 0 {
		out = minus(out, listed(m.notPorts, m.notPortSets, c, protocol))
	}
	return out
}

func listed(ranges []work.PortRange, sets []int, c *class, protocol int) []span {
	var out []span
	for _, r := range ranges {
		out = append(out, span{int(r.First), int(r.Last)})
	}
	for _, s := range sets {
		for _, p := range c.ports {
			if p.set == s && p.protocol == protocol {
				out = append(out, span{int(p.number), int(p.number)})
			}
		}
	}
	return union(out)
}

// ports are what a rule matches of what is asked for: destination ports, or for
// ICMP types and codes.
func (r *rule) ports(to *class, protocol int) []span {
	out := r.dest.asked(to, protocol)
	if r.icmp != nil {
		out = intersect(out, []span{typeSpan(r.icmp)})
	}
	if r.notICMP != nil && protocol == icmp {
		out = minus(out, []span{typeSpan(r.notICMP)})
	}
	return out
}

// typeSpan is an ICMP type, and its code if it is given, as one number: the
// type is the high byte.
func typeSpan(i *work.ICMP) span {
	if i.Code != nil {
		n := i.Type<<8 | *i.Code
		return span{n, n}
	}
	return span{i.Type << 8, i.Type<<8 | 0xff}
}
