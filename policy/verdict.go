package policy

import (
	"net/netip"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// Party is one end of a packet: an endpoint by its ID or else by its address,
// or an address that no endpoint has.
type Party struct {
	Endpoint string
	Address  netip.Addr
}

// Packet is the first packet of a connection, as far as rules look at it.
type Packet struct {
	From, To         Party
	Protocol         int // IANA number
	SrcPort, DstPort uint16
	ICMPType         int
	ICMPCode         int
}

// Verdict says whether a packet passes. Both ends must agree; an end that is
// no endpoint has no say and is nil.
type Verdict struct {
	Allowed bool
	Egress  *Decision // at the sender
	Ingress *Decision // at the receiver
}

// Decision is one end's answer and the rule that gave it.
type Decision struct {
	Endpoint string
	Posture  string // "" when no policy selects the endpoint
	Allowed  bool
	Tier     string      // "" when no tier decided: then the direction is closed
	Policy   string      // key as text; the tier's name when its default action decided
	Index    int         // place in the policy's list, from 0; -1 for a default
	Action   work.Action // that of the rule, or Deny
	// Considered are all rules that were tried, in order; only Explain fills it.
	Considered []Considered
}

// Considered is a rule that was tried.
type Considered struct {
	Tier    string
	Policy  string
	Index   int
	Action  work.Action
	Matched bool
}

// Verdict says what the programs of both ends do with a packet.
func (r *Resolver) Verdict(p Packet) Verdict { return r.judge(p, false) }

// Explain is Verdict with all rules that were tried.
func (r *Resolver) Explain(p Packet) Verdict { return r.judge(p, true) }

// probe is a packet in the form in which sets are asked.
type probe struct {
	Packet
	src, dst uint32
	ipv6     bool // closed at every endpoint
}

func (r *Resolver) judge(p Packet, all bool) Verdict {
	r.settle()
	from, to := r.partyOf(p.From), r.partyOf(p.To)
	pr := probe{Packet: p}
	source, target := addressOf(from, p.From), addressOf(to, p.To)
	src, _ := hostMember(source)
	dst, _ := hostMember(target)
	pr.src, pr.dst = src.addr, dst.addr
	pr.ipv6 = source.Unmap().Is6() || target.Unmap().Is6()
	v := Verdict{Allowed: true}
	if from != nil {
		v.Egress = r.decide(from, &pr, false, all)
		v.Allowed = v.Egress.Allowed
	}
	if to != nil {
		v.Ingress = r.decide(to, &pr, true, all)
		v.Allowed = v.Allowed && v.Ingress.Allowed
	}
	return v
}

// partyOf finds the endpoint of a party, nil if it is none.
func (r *Resolver) partyOf(p Party) *item {
	if p.Endpoint != "" {
		return r.endpoints.get(p.Endpoint)
	}
	if !p.Address.IsValid() {
		return nil
	}
	var found *item
	for it := range r.endpoints.each() { // rarely asked for: not worth an index
		if it.Address == p.Address && (found == nil || strings.Compare(it.ID, found.ID) < 0) {
			found = it
		}
	}
	return found
}

func addressOf(it *item, p Party) netip.Addr {
	if it != nil {
		return it.Address
	}
	return p.Address
}

func (r *Resolver) decide(it *item, p *probe, ingress, all bool) *Decision {
	d := &Decision{Endpoint: it.ID, Posture: it.postureID(), Index: -1, Action: work.Deny}
	if it.posture == nil || p.ipv6 {
		return d
	}
	program := r.programs[it.posture]
	if program == nil {
		if r.programs == nil {
			r.programs = map[*posture]*work.Program{}
		}
		written := r.program(it.posture)
		program = &written
		r.programs[it.posture] = program
	}
	tiers := program.Egress
	if ingress {
		tiers = program.Ingress
	}
	for i := range tiers {
		if r.walk(&tiers[i], p, d, all) {
			d.Allowed = d.Action == work.Allow
			return d
		}
	}
	return d
}

// walk goes through a tier's rules; true when one decided.
func (r *Resolver) walk(t *work.Tier, p *probe, d *Decision, all bool) bool {
	for i := range t.Rules {
		rule := &t.Rules[i]
		matched := r.matches(rule, p)
		if all {
			d.Considered = append(d.Considered, Considered{t.Name, rule.Policy, rule.Index, rule.Action, matched})
		}
		if !matched {
			continue
		}
		switch rule.Action {
		case work.Allow, work.Deny:
			d.Tier, d.Policy, d.Index, d.Action = t.Name, rule.Policy, rule.Index, rule.Action
			return true
		case work.Pass:
			return false
		}
	}
	return false
}

func (r *Resolver) matches(rule *work.Rule, p *probe) bool {
	switch {
	case rule.Protocol != 0 && rule.Protocol != p.Protocol,
		rule.NotProtocol != 0 && rule.NotProtocol == p.Protocol,
		rule.ICMP != nil && !icmpIs(rule.ICMP, p),
		rule.NotICMP != nil && icmpIs(rule.NotICMP, p):
		return false
	}
	return r.matchesSide(&rule.Source, p.src, p.Protocol, p.SrcPort) && r.matchesSide(&rule.Dest, p.dst, p.Protocol, p.DstPort)
}

func icmpIs(i *work.ICMP, p *probe) bool {
	return p.Protocol == 1 && i.Type == p.ICMPType && (i.Code == nil || *i.Code == p.ICMPCode)
}

func (r *Resolver) matchesSide(m *work.Match, addr uint32, proto int, port uint16) bool {
	in := func(id string) bool { return r.sets[id].contains(addr, uint8(proto), port) }
	for _, id := range m.Sets {
		if !in(id) {
			return false
		}
	}
	for _, id := range m.NotSets {
		if in(id) {
			return false
		}
	}
	if len(m.Ports)+len(m.PortSets) > 0 && !inPorts(m.Ports, port) && !anyOf(m.PortSets, in) {
		return false
	}
	return !inPorts(m.NotPorts, port) && !anyOf(m.NotPortSets, in)
}

func inPorts(ranges []work.PortRange, port uint16) bool {
	for _, r := range ranges {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

func anyOf(ids []string, in func(string) bool) bool {
	for _, id := range ids {
		if in(id) {
			return true
		}
	}
	return false
}
