package reach

import (
	"cmp"
	"slices"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

const (
	icmp  = int(resource.ICMPv4)
	other = int(Other)
)

// allowed is a part of what one end allows, and the rule that does.
type allowed struct {
	span
	rule *Rule
}

// walk says what a program lets pass of a protocol, from a source port, in the
// order of the ports.
func walk(tiers []tier, from, to *class, protocol, source int) []allowed {
	var out []allowed
	open := all // what no tier has decided
	if protocol != icmp && !resource.Protocol(protocol).HasPorts() {
		open = []span{{0, 0}}
	}
	for _, t := range tiers {
		var passed []span
		for i := range t {
			r := &t[i]
			if !r.matches(from, to, protocol, source) {
				continue
			}
			asked := r.ports(to, protocol)
			hit := intersect(open, asked)
			if len(hit) == 0 {
				continue
			}
			open = minus(open, asked)
			switch r.action {
			case work.Allow:
				for _, s := range hit {
					out = append(out, allowed{s, r.ref})
				}
			case work.Pass:
				passed = append(passed, hit...)
			}
			if len(open) == 0 {
				break
			}
		}
		if open = union(append(slices.Clone(open), passed...)); len(open) == 0 {
			break
		}
	}
	slices.SortFunc(out, func(a, b allowed) int { return cmp.Compare(a.first, b.first) })
	return out
}

// between says what passes from one class to another: what both ends allow.
func between(from, to *class, only *Ports) []Span {
	if only != nil {
		var out []Span
		for _, s := range between1(from, to, int(only.Protocol)) {
			if s.First = max(s.First, only.First); s.First <= min(s.Last, only.Last) {
				s.Last = min(s.Last, only.Last)
				out = append(out, s)
			}
		}
		return out
	}
	rest := between1(from, to, other)
	var out []Span
	for _, protocol := range protocols(from, to) {
		spans := between1(from, to, protocol)
		if len(rest) == 0 || usual(protocol) {
			out = append(out, spans...)
		} else if len(spans) != 1 || !spans[0].whole() || spans[0].Sources != nil || !spans[0].SameRules(&rest[0]) {
			out = append(out, spans...)
			rest[0].Not = append(rest[0].Not, Protocol(protocol))
		}
	}
	return append(out, rest...)
}

// usual reports whether a protocol is always told by itself.
func usual(protocol int) bool {
	return protocol == int(resource.TCP) || protocol == int(resource.UDP) || protocol == icmp
}

// between1 is between for one protocol.
func between1(from, to *class, protocol int) []Span {
	var out []Span
	sources := sourcePorts(from, to, protocol)
	for i, first := range sources {
		last := maxPort
		if i+1 < len(sources) {
			last = sources[i+1] - 1
		}
		for _, s := range both(from, to, protocol, first) {
			if len(sources) > 1 {
				s.Sources = []work.PortRange{{First: uint16(first), Last: uint16(last)}}
			}
			out = append(out, s)
		}
	}
	return merge(out)
}

// protocols are those that a rule of either end names, and the usual ones.
func protocols(from, to *class) []int {
	list := []int{int(resource.TCP), int(resource.UDP), icmp}
	for _, c := range []*class{from, to} {
		if c.program != nil {
			list = append(list, c.program.protocols...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// sourcePorts are the ports at which the verdict on a source port may change,
// from 0 on. It is rarely more than that.
func sourcePorts(from, to *class, protocol int) []int {
	list := []int{0}
	if !resource.Protocol(protocol).HasPorts() {
		return list
	}
	bound := false
	for _, c := range []*class{from, to} {
		if c.program != nil && c.program.bound {
			bound = true
			list = append(list, c.program.sources...)
		}
	}
	if !bound {
		return list
	}
	for _, p := range from.ports {
		if p.protocol == protocol {
			list = append(list, int(p.number), int(p.number)+1)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(p int) bool { return p > maxPort })
}

// both is what both ends let pass from one source port.
func both(from, to *class, protocol, source int) []Span {
	ins := []allowed{{span: all[0]}}
	if to.program != nil {
		ins = walk(to.program.ingress, from, to, protocol, source)
	}
	if len(ins) == 0 {
		return nil
	}
	outs := []allowed{{span: all[0]}}
	if from.program != nil {
		outs = walk(from.program.egress, from, to, protocol, source)
	}
	var list []Span
	for len(ins) > 0 && len(outs) > 0 {
		first, last := max(ins[0].first, outs[0].first), min(ins[0].last, outs[0].last)
		if first <= last {
			list = append(list, Span{
				Ports:  Ports{Protocol: Protocol(protocol), First: uint16(first), Last: uint16(last)},
				Egress: outs[0].rule, Ingress: ins[0].rule,
			})
		}
		if ins[0].last < outs[0].last {
			ins = ins[1:]
		} else {
			outs = outs[1:]
		}
	}
	return list
}

// merge joins spans of one protocol that touch and have the same rules, and
// source ports of equal spans.
func merge(list []Span) []Span {
	slices.SortStableFunc(list, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last),
			compareRule(a.Egress, b.Egress), compareRule(a.Ingress, b.Ingress), compareSources(a, b))
	})
	out := list[:0]
	for _, s := range list {
		n := len(out)
		if n > 0 && s.SameRules(&out[n-1]) && s.Ports == out[n-1].Ports && s.Sources != nil {
			p := &out[n-1]
			if end := &p.Sources[len(p.Sources)-1]; int(end.Last)+1 == int(s.Sources[0].First) {
				end.Last = s.Sources[0].Last
			} else {
				p.Sources = append(p.Sources, s.Sources...)
			}
			continue
		}
		out = append(out, s)
	}
	list = out
	for i := range list {
		if s := list[i].Sources; len(s) == 1 && s[0].First == 0 && s[0].Last == maxPort {
			list[i].Sources = nil
		}
	}
	out = list[:0]
	for _, s := range list {
		n := len(out)
		if n > 0 && s.SameRules(&out[n-1]) && int(out[n-1].Last)+1 == int(s.First) &&
			slices.Equal(s.Sources, out[n-1].Sources) {
			out[n-1].Last = s.Last
			continue
		}
		out = append(out, s)
	}
	return out
}

func compareRule(a, b *Rule) int {
	if a == nil || b == nil {
		return 0 // an end is an endpoint for all spans or for none
	}
	return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Index, b.Index))
}

func compareSources(a, b Span) int {
	if a.Sources == nil || b.Sources == nil {
		return 0
	}
	return cmp.Compare(a.Sources[0].First, b.Sources[0].First)
}

// SameRules reports whether the same rules let two spans of a flow.
func (s *Span) SameRules(o *Span) bool {
	return compareRule(s.Egress, o.Egress) == 0 && compareRule(s.Ingress, o.Ingress) == 0
}
