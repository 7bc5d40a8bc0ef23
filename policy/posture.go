package policy

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// policy is a policy in force. It outlives its resource until the last posture
// with it is gone.
type policy struct {
	key  events.ResourceKey
	text string // key as text
	name string // as ties are broken: "namespace/name" or "name"
	*compiled
	query *query                // its selector; nil once the resource is deleted
	uses  map[*posture]struct{} // postures in use that have it
}

// posture is the ordered list of policies that apply to an endpoint.
type posture struct {
	id        string
	policies  []*policy
	endpoints int
	inUse     bool // its policies' sets are kept
	told      bool // the last Delta's receiver has its program
}

// tier is a tier in force.
type tier struct {
	order float64
	pass  bool // its default action is Pass
}

// tierOf is a tier's order and default; a tier that was not written, only the
// default one can be, has Calico's.
func (r *Resolver) tierOf(name string) tier {
	if t, ok := r.tiers[name]; ok {
		return t
	}
	if name == resource.DefaultTier {
		return tier{order: resource.DefaultTierOrder}
	}
	return tier{order: math.Inf(1)}
}

func newTier(t *resource.Tier) tier {
	n := tier{order: orderOf(t.Spec.Order), pass: t.Spec.DefaultAction == "Pass"}
	if t.Metadata.Name == resource.DefaultTier {
		n.order = resource.DefaultTierOrder
	}
	return n
}

// compare orders policies as packets meet them: by tier (order, then name),
// then by their own order, then by name.
func (r *Resolver) compare(a, b *policy) int {
	if a.tier != b.tier {
		return cmp.Or(cmp.Compare(r.tierOf(a.tier).order, r.tierOf(b.tier).order), strings.Compare(a.tier, b.tier))
	}
	return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.name, b.name), strings.Compare(a.key.Kind, b.key.Kind))
}

// findPosture returns the posture of an endpoint that matches these queries,
// making it if it is a new one; nil when no policy is among them.
func (r *Resolver) findPosture(queries []*query) *posture {
	var policies []*policy
	for _, q := range queries {
		policies = append(policies, q.policies...)
	}
	if len(policies) == 0 {
		return nil
	}
	slices.SortFunc(policies, r.compare)
	var text strings.Builder
	for _, p := range policies {
		text.WriteString(p.text)
		text.WriteByte('\n')
	}
	id := selector.Hash(text.String())
	p := r.postures[id]
	if p == nil {
		p = &posture{id: id, policies: slices.Clip(policies)}
		r.postures[id] = p
	}
	return p
}

// program writes down what the posture allows now.
func (r *Resolver) program(p *posture) work.Program {
	out := work.Program{ID: p.id, Policies: make([]string, len(p.policies))}
	for i, pol := range p.policies {
		out.Policies[i] = pol.text
	}
	out.Ingress = r.tiersOf(p, func(c *compiled) (bool, []work.Rule) { return c.hasIn, c.ingress })
	out.Egress = r.tiersOf(p, func(c *compiled) (bool, []work.Rule) { return c.hasOut, c.egress })
	return out
}

func (r *Resolver) tiersOf(p *posture, rules func(*compiled) (applies bool, rules []work.Rule)) []work.Tier {
	var tiers []work.Tier
	for rest := p.policies; len(rest) > 0; {
		name := rest[0].tier
		n, size, any := 0, 1, false
		for n < len(rest) && rest[n].tier == name {
			applies, list := rules(rest[n].compiled)
			any = any || applies
			size += len(list)
			n++
		}
		if any {
			t := work.Tier{Name: name, Rules: make([]work.Rule, 0, size)}
			for _, pol := range rest[:n] {
				_, list := rules(pol.compiled)
				t.Rules = append(t.Rules, list...)
			}
			if !r.tierOf(name).pass {
				t.Rules = append(t.Rules, work.Rule{Action: work.Deny, Policy: name, Index: -1})
			}
			tiers = append(tiers, t)
		}
		rest = rest[n:]
	}
	return tiers
}
