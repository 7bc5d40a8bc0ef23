package verdict

import "github.com/taskwall/taskwall/events/work"

// Polarity says how a set's members decide in a posture.
type Polarity struct {
	// Grants: a member that goes may take a permission away.
	Grants bool
	// Denies: a member that comes may take a permission away.
	Denies bool
}

// Polarities are those of every set that a program names. A set in a rule that
// allows grants; in one that denies, or negated, it denies. What "pass" leads
// to can be either.
func Polarities(p *work.Program) map[string]Polarity {
	out := map[string]Polarity{}
	add := func(ids []string, grants, denies bool) {
		for _, id := range ids {
			o := out[id]
			out[id] = Polarity{o.Grants || grants, o.Denies || denies}
		}
	}
	for _, tiers := range [][]work.Tier{p.Ingress, p.Egress} {
		for _, t := range tiers {
			for _, r := range t.Rules {
				if r.Action == work.Log {
					continue
				}
				grants, denies := r.Action != work.Deny, r.Action != work.Allow
				for _, m := range []work.Match{r.Source, r.Dest} {
					add(m.Sets, grants, denies)
					add(m.PortSets, grants, denies)
					add(m.NotSets, denies, grants)
					add(m.NotPortSets, denies, grants)
				}
			}
		}
	}
	return out
}
