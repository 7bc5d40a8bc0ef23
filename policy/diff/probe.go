package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/resource"
)

// probe is a port to try, which stands for all from first to last; of ICMP these
// are a type's codes, as in interest.
type probe struct {
	explain.Port
	first, last int
}

// other is a protocol that stands for those that no rule names (RFC 3692: for
// experiments).
const other = 253

// anyType is an ICMP type that stands for those that no rule names.
const anyType = 253

// probes are what to try between two classes.
func probes(from, to *class) []probe {
	protocols := append([]int{int(resource.TCP), int(resource.UDP), int(resource.ICMPv4), other}, from.egress.protocols...)
	protocols = append(protocols, to.ingress.protocols...)
	slices.Sort(protocols)
	starts := append([]int{0}, from.egress.starts...)
	starts = append(starts, to.ingress.starts...)
	for _, p := range to.ports { // named ports are sets that hold these
		starts = append(starts, int(p), int(p)+1)
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	types := append([]int{anyType}, from.egress.types...)
	types = append(types, to.ingress.types...)
	slices.Sort(types)
	codes := slices.Concat(from.egress.codes, to.ingress.codes)
	var list []probe
	for _, p := range slices.Compact(protocols) {
		protocol := resource.Protocol(p)
		switch {
		case protocol.HasPorts():
			for i, s := range starts {
				last := 65535
				if i+1 < len(starts) {
					last = starts[i+1] - 1
				}
				if s <= 65535 {
					list = append(list, probe{explain.Port{Protocol: protocol, Number: uint16(s)}, s, last})
				}
			}
		case protocol == resource.ICMPv4:
			for _, t := range slices.Compact(types) {
				list = append(list, icmpProbes(t, codes)...)
			}
		default:
			list = append(list, probe{explain.Port{Protocol: protocol}, 0, 0})
		}
	}
	return list
}

// icmpProbes are what to try of an ICMP type, at the codes of it that rules name
// and between them.
func icmpProbes(icmpType int, codes []int) []probe {
	first, end := icmpType*codesOfType, (icmpType+1)*codesOfType
	starts := []int{first, end}
	for _, c := range codes {
		if first <= c && c < end {
			starts = append(starts, c, c+1)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	var list []probe
	for i, s := range starts[:len(starts)-1] {
		list = append(list, probe{explain.Port{Protocol: resource.ICMPv4, Type: icmpType, Code: s - first}, s, starts[i+1] - 1})
	}
	return list
}

// flows collects what differs between pairs of classes.
type flows struct{ list []flow }

type flow struct {
	from, to *class
	allowed  bool
	ports    string
	why      string
}

// probe tries a pair of classes in both worlds.
func (f *flows) probe(a, b side, from, to *class) {
	list := probes(from, to)
	var allowed, denied []probe
	source, target := from.party, to.party
	for _, p := range list {
		packet := p.Packet(source, target)
		before, after := a.Resolver.Verdict(packet).Allowed, b.Resolver.Verdict(packet).Allowed
		switch {
		case after && !before:
			allowed = append(allowed, p)
		case before && !after:
			denied = append(denied, p)
		}
	}
	for _, found := range [][]probe{allowed, denied} {
		if len(found) == 0 {
			continue
		}
		answer := b.Answer(source, target, found[0].Port, false)
		f.list = append(f.list, flow{from, to, answer.Allowed, describe(found, len(found) == len(list)), why(answer)})
	}
}

// why is the rules that decide now: those of both ends of an allowed flow, and
// the first that denies another.
func why(a *explain.Answer) string {
	var parts []string
	for _, e := range []*explain.End{a.Egress, a.Ingress} {
		if e == nil || !a.Allowed && (e.Allowed || len(parts) > 0) {
			continue
		}
		text := e.Why
		if e.Rule != nil && e.Rule.At() != "" {
			text += " (" + e.Rule.At() + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// describe writes ports for people; whole says that they are all there are.
func describe(list []probe, whole bool) string {
	if whole {
		return "everything"
	}
	type run struct{ first, last int }
	var parts []string
	for len(list) > 0 {
		protocol := list[0].Protocol
		var runs []run
		for len(list) > 0 && list[0].Protocol == protocol {
			p := list[0]
			list = list[1:]
			if n := len(runs); n > 0 && runs[n-1].last+1 == p.first && (protocol.HasPorts() || p.Code > 0) {
				runs[n-1].last = p.last
			} else {
				runs = append(runs, run{p.first, p.last})
			}
		}
		name := strings.ToLower(protocol.String())
		if protocol == other {
			name = "other protocols"
		}
		var texts []string
		for _, r := range runs {
			switch {
			case protocol.HasPorts() && r.first == 0 && r.last == 65535:
			case protocol == resource.ICMPv4:
				texts = append(texts, describeICMP(r.first, r.last))
			case r.first != r.last:
				texts = append(texts, fmt.Sprintf("%d-%d", r.first, r.last))
			case protocol.HasPorts():
				texts = append(texts, strconv.Itoa(r.first))
			}
		}
		if onlyOther := len(texts) == 1 && texts[0] == "other types"; len(texts) > 0 && !onlyOther {
			name += " " + strings.Join(texts, ", ")
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, "; ")
}

// describeICMP writes codes of one type: "3", "3/4" or "3/5-255".
func describeICMP(first, last int) string {
	icmpType, from, to := first/codesOfType, first%codesOfType, last%codesOfType
	switch {
	case icmpType == anyType:
		return "other types"
	case from == 0 && to == codesOfType-1:
		return strconv.Itoa(icmpType)
	case from == to:
		return fmt.Sprintf("%d/%d", icmpType, from)
	}
	return fmt.Sprintf("%d/%d-%d", icmpType, from, to)
}
