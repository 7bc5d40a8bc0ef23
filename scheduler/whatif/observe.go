package whatif

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/resource"
)

// observe asks both worlds about packets that a host reported.
func (r *replay) observe(rep *work.StoredReport) {
	l := rep.Logged
	from, okFrom := r.party(l.SourceTask, l.Source)
	to, okTo := r.party(l.DestTask, l.Dest)
	if !okFrom || !okTo {
		r.unknown += l.Count
		return
	}
	port := explain.Port{Protocol: resource.Protocol(l.Protocol), Number: l.Port}
	if port.Protocol == resource.ICMPv4 {
		port.Type = echo // reports do not say; most are pings
	}
	packet := port.Packet(from, to)
	was, is := r.was.r.Verdict(packet), r.is.r.Verdict(packet)
	var change Change
	switch {
	case l.Action == work.Deny && is.Allowed:
		change = Gained
	case l.Action == work.Log && was.Allowed && !is.Allowed:
		change = Lost
	default:
		return
	}
	p := Packets{Change: change, From: r.name(from), To: r.name(to), Port: port.String(), First: rep.Stored}
	key := strings.Join([]string{string(change), p.From.String(), p.To.String(), p.Port}, "\x00")
	known := r.packets[key]
	if known == nil {
		p.Policy, p.Index = l.Policy, l.Index
		known = &p
		r.packets[key] = known
	}
	known.Count += l.Count
	known.Reports++
	known.Last = rep.Stored
}

// echo is the ICMP type of an echo request.
const echo = 8

// party finds who had an address at the time; false when a task had it that is
// no longer known, or not yet.
func (r *replay) party(task string, a netip.Addr) (policy.Party, bool) {
	if task != "" {
		_, known := r.members[task]
		return policy.Party{Endpoint: task, Address: a}, known
	}
	if ids := r.byAddress[a.String()]; len(ids) > 0 {
		return policy.Party{Endpoint: ids[0], Address: a}, true
	}
	for _, p := range r.state.Resolver().Pools() {
		if p.CIDR.Contains(a) {
			return policy.Party{}, false
		}
	}
	return policy.Party{Address: a}, true
}

// name is a party as flows have it; an address outside is its own network.
func (r *replay) name(p policy.Party) Party {
	if m, known := r.members[p.Endpoint]; known && m.class != nil {
		return m.class.party
	}
	return Party{Network: p.Address.String()}
}

// String is the party as people call it.
func (p Party) String() string {
	switch {
	case p.Network == "0.0.0.0/0":
		return "any other address"
	case p.Network != "" && len(p.Sets) > 0:
		return p.Network + " (" + strings.Join(p.Sets, ", ") + ")"
	case p.Network != "":
		return p.Network
	case p.Environment != "":
		return fmt.Sprintf("%s (%s)", p.App, p.Environment)
	}
	return p.App
}
