package diff

import (
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// ties is what one world has between a class and others, before any port is
// looked at: most pairs of apps have nothing to do with each other, and are
// known by it.
type ties struct {
	sets    map[string]struct{} // that hold its address
	out, in [][]string          // for each Allow rule, the sets that the peer must be in
}

func (s *side) tiesOf(c *class, memberOf []string) ties {
	t := ties{sets: map[string]struct{}{}}
	for _, entry := range memberOf {
		id, _, _ := strings.Cut(entry, " ")
		t.sets[id] = struct{}{}
	}
	program, _ := s.Resolver.Program(s.Resolver.Posture(c.party.Endpoint))
	t.out = asked(program.Egress, func(r *work.Rule) []string { return r.Dest.Sets })
	t.in = asked(program.Ingress, func(r *work.Rule) []string { return r.Source.Sets })
	return t
}

// asked are the sets that Allow rules ask of the peer, once each.
func asked(tiers []work.Tier, peer func(*work.Rule) []string) [][]string {
	var list [][]string
	for i := range tiers {
		for j := range tiers[i].Rules {
			r := &tiers[i].Rules[j]
			if r.Action == work.Allow && !slices.ContainsFunc(list, func(s []string) bool { return slices.Equal(s, peer(r)) }) {
				list = append(list, peer(r))
			}
		}
	}
	return list
}

// mayTalk reports whether there is an Allow rule at each end that is an
// endpoint whose sets hold the other. Without, no flow passes.
func mayTalk(from, to *class, world func(*class) *ties) bool {
	a, b := world(from), world(to)
	return (from.Network != "" || holdsOne(b.sets, a.out)) && (to.Network != "" || holdsOne(a.sets, b.in))
}

func holdsOne(sets map[string]struct{}, asked [][]string) bool {
	return slices.ContainsFunc(asked, func(all []string) bool {
		return !slices.ContainsFunc(all, func(id string) bool { _, in := sets[id]; return !in })
	})
}
