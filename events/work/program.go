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
