package work

import "slices"

// SetIDs is every set that the program's rules refer to, sorted, once each.
func (p *Program) SetIDs() []string {
	var ids []string
	for _, tiers := range [][]Tier{p.Ingress, p.Egress} {
		for _, t := range tiers {
			for _, r := range t.Rules {
				for _, m := range []Match{r.Source, r.Dest} {
					ids = append(ids, m.Sets...)
					ids = append(ids, m.NotSets...)
					ids = append(ids, m.PortSets...)
					ids = append(ids, m.NotPortSets...)
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Effect is what tiers do, wherever their rules come from and whatever they
// are called.
func Effect(tiers []Tier) [][]Rule {
	out := make([][]Rule, len(tiers))
	for i, t := range tiers {
		out[i] = slices.Clone(t.Rules)
		for j := range out[i] {
			out[i][j].Policy, out[i][j].Index = "", 0
		}
	}
	return out
}
