// Package diff says for a cluster's endpoints which flows a change of policies
// allows and which it denies, grouped by app for a human reviewer. It is what
// "taskwall policy diff" does.
//
//	old policies ─▶ World ─┐
//	                       ├─ groups of like endpoints ─ pairs that may differ ─ probes ─▶ Report
//	new policies ─▶ World ─┘
//
// Endpoints of an app that no rule can tell apart are one group. Networks that
// policies name are groups too, each tried at its first address. A pair is
// probed at every port at which a rule of either end begins or ends, so the
// ports that are told are exact. Source ports are not: probes come from one
// ephemeral port.
package diff

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/resource"
)

// Report is what changes.
type Report struct {
	Allowed []Flow `json:"allowed"` // flows that become allowed
	Denied  []Flow `json:"denied"`  // flows that become denied
	// Staged is what would change on top if the new staged policies were put in
	// force; absent when there are none.
	Staged *Report `json:"staged,omitempty"`
}

// Flow is what one app may say to another, or no longer.
type Flow struct {
	From  Group  `json:"from"`
	To    Group  `json:"to"`
	Ports string `json:"ports"` // e.g. "tcp 443, 8000-8080; icmp 8, 3/4"
	Why   string `json:"why"`   // the deciding rules, for one pair of the groups
}

// Group is the tasks of an app, or a network.
type Group struct {
	App         string `json:"app,omitempty"` // the endpoint's id when it has no app
	Environment string `json:"environment,omitempty"`
	Tasks       int    `json:"tasks,omitempty"` // that the flow concerns
	Of          int    `json:"of,omitempty"`    // tasks that the app has
	Network     string `json:"network,omitempty"`
}

// Empty reports whether nothing changes.
func (r *Report) Empty() bool { return len(r.Allowed)+len(r.Denied) == 0 }

// Compare compares two worlds with the same endpoints. An error is
// resource.Problems, when the staged policies cannot be put in force, or ctx's.
func Compare(ctx context.Context, old, next *explain.World) (*Report, error) {
	r, err := compare(ctx, old, next)
	if err != nil {
		return nil, err
	}
	resources, staged, err := resource.Promote(next.Resolver.Resources())
	if err != nil || !staged {
		return r, err
	}
	would, err := explain.New(resources, next.Endpoints(), nil)
	if err != nil {
		return nil, err
	}
	r.Staged, err = compare(ctx, next, would)
	return r, err
}

// side is one of the two worlds.
type side struct {
	*explain.World
	member map[string][]string // address, or network → sets that list it; port sets with the port
	nets   []netip.Prefix      // the networks among member's keys
}

func newSide(w *explain.World) side {
	s := side{World: w, member: map[string][]string{}}
	ids := map[string]bool{}
	for _, e := range w.Endpoints() {
		program, ok := w.Resolver.Program(w.Resolver.Posture(e.ID))
		if !ok {
			continue
		}
		for _, id := range program.SetIDs() {
			ids[id] = true
		}
	}
	for _, id := range events.SortedKeys(ids) {
		set, _ := w.Resolver.Set(id)
		for _, m := range set.Members {
			address, port, _ := strings.Cut(m, ",")
			s.member[address] = append(s.member[address], id+" "+port)
		}
	}
	for member := range s.member {
		if p, err := netip.ParsePrefix(member); err == nil {
			s.nets = append(s.nets, p)
		}
	}
	return s
}

// of lists the sets that hold an address, sorted.
func (s *side) of(at netip.Addr) []string {
	list := slices.Clone(s.member[at.String()])
	for _, p := range s.nets {
		if p.Contains(at) {
			list = append(list, s.member[p.String()]...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// class is endpoints that no rule, old or new, can tell apart, or a network.
type class struct {
	Group
	party         policy.Party // one of them
	ports         []uint16     // its named ports
	egress        interest
	ingress       interest
	changedOut    bool // its egress rules differ
	changedIn     bool // its ingress rules differ
	changedMember bool // it entered or left a set that is in both worlds
	before, after ties
}

func compare(ctx context.Context, old, next *explain.World) (*Report, error) {
	a, b := newSide(old), newSide(next)
	classes := classesOf(a, b)
	before, after := func(c *class) *ties { return &c.before }, func(c *class) *ties { return &c.after }
	var found flows
	for i := range classes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for j := range classes {
			from, to := &classes[i], &classes[j]
			if from.Network != "" && to.Network != "" || i == j && from.Tasks < 2 && from.Network == "" {
				continue
			}
			if from.changedOut || to.changedIn || from.changedMember || to.changedMember || from.Network != "" && to.changedIn {
				if mayTalk(from, to, before) || mayTalk(from, to, after) {
					found.probe(a, b, from, to)
				}
			}
		}
	}
	return found.report(), nil
}

// classesOf groups the endpoints, and adds the networks that rules name.
func classesOf(a, b side) []class {
	var classes []class
	byKey := map[string]int{}
	total := map[string]int{}
	for _, e := range b.Endpoints() {
		g := Group{App: e.Labels["taskwall/app"], Environment: e.Environment}
		if g.App == "" {
			g.App = e.ID
		}
		total[g.App+"\n"+g.Environment]++
		before, after := a.of(e.Address), b.of(e.Address)
		key := strings.Join([]string{g.App, g.Environment, a.Resolver.Posture(e.ID), b.Resolver.Posture(e.ID), strings.Join(before, ","), strings.Join(after, ",")}, "\n")
		if i, known := byKey[key]; known {
			classes[i].Tasks++
			continue
		}
		byKey[key] = len(classes)
		g.Tasks = 1
		c := class{Group: g, party: policy.Party{Endpoint: e.ID, Address: e.Address}}
		for _, p := range e.Ports {
			c.ports = append(c.ports, uint16(p.Number))
		}
		c.rules(a, b)
		c.member(a, b, before, after)
		classes = append(classes, c)
	}
	for i := range classes {
		classes[i].Of = total[classes[i].App+"\n"+classes[i].Environment]
	}
	return append(classes, networks(a, b)...)
}

// rules notes what the class's programs look at, and whether they differ.
func (c *class) rules(a, b side) {
	before, _ := a.Resolver.Program(a.Resolver.Posture(c.party.Endpoint))
	after, _ := b.Resolver.Program(b.Resolver.Posture(c.party.Endpoint))
	c.changedOut = !sameRules(before.Egress, after.Egress)
	c.changedIn = !sameRules(before.Ingress, after.Ingress)
	for _, tiers := range [][]work.Tier{before.Egress, after.Egress} {
		c.egress.note(tiers)
	}
	for _, tiers := range [][]work.Tier{before.Ingress, after.Ingress} {
		c.ingress.note(tiers)
	}
}

// sameRules compares what rules do, not where they come from.
func sameRules(a, b []work.Tier) bool {
	return reflect.DeepEqual(work.Effect(a), work.Effect(b))
}

// member notes which sets hold the class's address.
func (c *class) member(a, b side, before, after []string) {
	c.changedMember = moved(before, after, a, b)
	c.before, c.after = a.tiesOf(c, before), b.tiesOf(c, after)
}

// moved reports whether an address is in other sets than before, among those
// that both worlds have.
func moved(before, after []string, a, b side) bool {
	in := func(list []string, s string) bool { _, ok := slices.BinarySearch(list, s); return ok }
	has := func(s side, entry string) bool {
		id, _, _ := strings.Cut(entry, " ")
		_, ok := s.Resolver.Set(id)
		return ok
	}
	for _, e := range before {
		if !in(after, e) && has(b, e) {
			return true
		}
	}
	for _, e := range after {
		if !in(before, e) && has(a, e) {
			return true
		}
	}
	return false
}

func (g *Group) compare(o *Group) int {
	return cmp.Or(strings.Compare(g.App, o.App), strings.Compare(g.Environment, o.Environment), strings.Compare(g.Network, o.Network))
}
