package check

import (
	"fmt"
	"slices"

	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// placed is a rule with where it stands.
type placed struct {
	policy *resource.Policy
	index  int
	*resource.Rule
}

// seen is the policies met so far, by canonical selector, so that a policy is
// compared only with those that may select at least, or at most, what it does.
type seen map[string][]*resource.Policy

func (r *run) add(s seen, p *resource.Policy) {
	text := r.canonical(p.Spec.Selector)
	s[text] = append(s[text], p)
}

// related are the policies of s that may select all that p selects, and those
// of which p may select all.
func (r *run) related(s seen, p *resource.Policy) []*resource.Policy {
	text := r.canonical(p.Spec.Selector)
	if text != everything {
		return append(slices.Clip(s[text]), s[everything]...)
	}
	var all []*resource.Policy
	for _, list := range s {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b *resource.Policy) int { return resource.Compare(a.Key(), b.Key()) })
	return all
}

// shadows warns of rules that never decide, as an earlier rule of the same
// policy, or of an earlier one of the tier that selects at least the same
// endpoints, matches all that they match.
func (r *run) shadows() {
	tiers := map[string]seen{}
	for i, p := range r.policies {
		tier := p.TierName()
		if tiers[tier] == nil {
			tiers[tier] = seen{}
		}
		for k, d := range directions(p) {
			if !d.applies {
				continue
			}
			var earlier []placed
			if i < r.inForce {
				earlier = r.earlier(tiers[tier], p, k)
			}
			for n := range d.rules {
				rule := placed{p, n, &d.rules[n]}
				for _, e := range earlier {
					if r.covers(e, rule) {
						r.warn("shadowed", p.Key(), []any{"spec", d.name, n},
							fmt.Sprintf("the rule never decides: %s rule %d of %s matches all that it matches (%s)", d.name, e.index, e.policy.Key(), e.Action), "move it up, narrow the other, or remove it")
						break
					}
				}
				earlier = append(earlier, rule)
			}
		}
		if i < r.inForce {
			r.add(tiers[tier], p)
		}
	}
}

// earlier are the rules of a direction, of those policies before p in its tier
// that select at least what it selects. Those of equal order are left to
// contradictions.
func (r *run) earlier(s seen, p *resource.Policy, direction int) []placed {
	var rules []placed
	for _, e := range r.related(s, p) {
		d := directions(e)[direction]
		if sameOrder(e, p) || !d.applies || !r.selectsAll(e, p) {
			continue
		}
		for n := range d.rules {
			rules = append(rules, placed{e, n, &d.rules[n]})
		}
	}
	return rules
}

func sameOrder(a, b *resource.Policy) bool {
	if a.Spec.Order == nil || b.Spec.Order == nil {
		return a.Spec.Order == b.Spec.Order
	}
	return *a.Spec.Order == *b.Spec.Order
}

// selectsAll reports whether a plainly selects all that b selects.
func (r *run) selectsAll(a, b *resource.Policy) bool {
	if a.Metadata.Namespace != "" && a.Metadata.Namespace != b.Metadata.Namespace {
		return false
	}
	if a.Spec.NamespaceSelector != "" && (b.Spec.NamespaceSelector == "" || r.canonical(a.Spec.NamespaceSelector) != r.canonical(b.Spec.NamespaceSelector)) {
		return false
	}
	return r.wider(a.Spec.Selector, b.Spec.Selector)
}

// wider reports whether selector a plainly matches all that b matches.
func (r *run) wider(a, b string) bool {
	c := r.canonical(a)
	return c == everything || c == r.canonical(b)
}

// everything is the canonical selector that matches all.
const everything = "all()"

func (r *run) canonical(text string) string {
	if c, known := r.canon[text]; known {
		return c
	}
	c := text
	if s, err := selector.Parse(text); err == nil {
		c = s.String()
	}
	r.canon[text] = c
	return c
}

// contradictions warns of policies of equal order and tier, at least one
// selecting all that the other selects, where one allows what the other denies.
func (r *run) contradictions() {
	var group seen
	for i, b := range r.policies[:r.inForce] {
		if i == 0 || b.TierName() != r.policies[i-1].TierName() || !sameOrder(b, r.policies[i-1]) {
			group = seen{} // policies come sorted: none before is equal
		}
		for _, a := range r.related(group, b) {
			if r.selectsAll(a, b) || r.selectsAll(b, a) {
				r.contradiction(a, b)
			}
		}
		r.add(group, b)
	}
}

func (r *run) contradiction(a, b *resource.Policy) {
	for k, d := range directions(b) {
		other := directions(a)[k]
		if !d.applies || !other.applies {
			continue
		}
		for n := range d.rules {
			for m := range other.rules {
				x, y := placed{a, m, &other.rules[m]}, placed{b, n, &d.rules[n]}
				if !disagree(x.Action, y.Action) || !r.covers(x, y) && !r.covers(y, x) {
					continue
				}
				r.warn("contradiction", b.Key(), []any{"spec", d.name, n},
					fmt.Sprintf("%s rule %d of %s, of equal order, says %s where this says %s; the latter loses by its name only", d.name, m, a.Key(), x.Action, y.Action), "give them different orders")
				return // one example is enough
			}
		}
	}
}

func disagree(a, b string) bool { return a == "Allow" && b == "Deny" || a == "Deny" && b == "Allow" }

// covers reports whether rule a plainly decides on every packet that b matches.
func (r *run) covers(a, b placed) bool {
	if a.Action == "Log" {
		return false
	}
	if a.Protocol != 0 && a.Protocol != b.Protocol || a.NotProtocol != 0 && a.NotProtocol != b.NotProtocol && (b.Protocol == 0 || b.Protocol == a.NotProtocol) {
		return false
	}
	if a.ICMP != nil && !coversICMP(a.ICMP, b.ICMP) || a.NotICMP != nil && !coversICMP(b.NotICMP, a.NotICMP) || a.IPVersion == 6 {
		return false
	}
	return r.coversSide(a, b, &a.Source, &b.Source) && r.coversSide(a, b, &a.Destination, &b.Destination)
}

// coversICMP reports whether a is given and stands for all that b, given too,
// stands for: one without a code stands for every code.
func coversICMP(a, b *resource.ICMP) bool {
	return a != nil && b != nil && *a.Type == *b.Type && (a.Code == nil || b.Code != nil && *a.Code == *b.Code)
}

// coversSide is covers for one side of the packet. Selectors are compared only
// where they are looked up in the same namespaces.
func (r *run) coversSide(ruleA, ruleB placed, a, b *resource.Entity) bool {
	if a.Selector != "" || a.NotSelector != "" || a.NamespaceSelector != "" {
		if ruleA.policy.Metadata.Namespace != ruleB.policy.Metadata.Namespace || a.NamespaceSelector != b.NamespaceSelector {
			return false
		}
		if a.Selector != "" && (b.Selector == "" || !r.wider(a.Selector, b.Selector)) {
			return false
		}
		if a.NotSelector != "" && (b.NotSelector == "" || r.canonical(a.NotSelector) != r.canonical(b.NotSelector)) {
			return false
		}
	}
	return coversNets(a, b) && coversPorts(a, b)
}

func coversNets(a, b *resource.Entity) bool {
	if len(a.Nets) > 0 && (len(b.Nets) == 0 || !netsInside(b.Nets, a.Nets)) {
		return false
	}
	return netsInside(a.NotNets, b.NotNets)
}

// netsInside reports whether each inner network lies in one of the outer ones.
func netsInside(inner, outer []string) bool {
	for _, text := range inner {
		n, err := resource.ParseNet(text)
		if err != nil || !slices.ContainsFunc(outer, func(o string) bool {
			p, err := resource.ParseNet(o)
			return err == nil && p.Bits() <= n.Bits() && p.Contains(n.Addr())
		}) {
			return false
		}
	}
	return true
}

func coversPorts(a, b *resource.Entity) bool {
	if len(a.Ports) > 0 && (len(b.Ports) == 0 || !portsInside(b.Ports, a.Ports)) {
		return false
	}
	return portsInside(a.NotPorts, b.NotPorts)
}

// portsInside reports whether each inner port or range lies in one of the outer
// ones; a name is inside only itself.
func portsInside(inner, outer []resource.Port) bool {
	for _, p := range inner {
		if !slices.ContainsFunc(outer, func(o resource.Port) bool {
			return o.Name == p.Name && o.First <= p.First && p.Last <= o.Last
		}) {
			return false
		}
	}
	return true
}

// overlaps warns of network sets that hold addresses of pools.
func (r *run) overlaps() {
	for _, s := range r.sets {
		for i, text := range s.Spec.Nets {
			n, err := resource.ParseNet(text)
			if err != nil || n.Bits() == 0 { // "everything" is meant to hold pools too
				continue
			}
			for _, p := range r.pools {
				if pool := p.Prefix(); n.Overlaps(pool) {
					r.warn("overlap", s.Key(), []any{"spec", "nets", i}, fmt.Sprintf("%s overlaps %s (%s): it stands for endpoints too", n, p.Key(), pool), "leave the pool's addresses out")
				}
			}
		}
	}
}
