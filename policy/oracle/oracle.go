// Package oracle says what policies mean, as plainly as can be written: it is
// what the resolver, and the rules in the kernel, are tested against. It keeps
// no index and remembers nothing; every verdict goes through every resource.
//
//	packet ─▶ sender an endpoint?   ─▶ each tier ─▶ each policy ─▶ each rule ─▶ Allow / Deny
//	       └▶ receiver an endpoint? ─▶ …                              both must say Allow
//
// It shares the resources' types with the resolver and nothing else: not even
// the selector language.
package oracle

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// Cluster is a moment of a cluster: all its resources and endpoints.
type Cluster struct {
	policies  []*resource.Policy
	tiers     map[string]*resource.Tier
	sets      []*resource.Set
	guards    []*resource.Guard
	endpoints []policy.Endpoint
}

// New reads the resources. An error is resource.Problems.
func New(resources []events.Resource, endpoints []policy.Endpoint) (*Cluster, error) {
	c := &Cluster{tiers: map[string]*resource.Tier{}}
	for _, raw := range resources {
		typed, err := resource.Parse(raw)
		if err != nil {
			return nil, err
		}
		switch t := typed.(type) {
		case *resource.Policy:
			if !t.Staged() {
				c.policies = append(c.policies, t)
			}
		case *resource.Tier:
			c.tiers[t.Metadata.Name] = t
		case *resource.Set:
			c.sets = append(c.sets, t)
		case *resource.Guard:
			c.guards = append(c.guards, t)
		}
	}
	for _, e := range endpoints {
		c.endpoints = append(c.endpoints, c.guarded(e))
	}
	slices.SortFunc(c.policies, c.byOrder)
	return c, nil
}

// guarded drops the claims that a guard does not permit.
func (c *Cluster) guarded(e policy.Endpoint) policy.Endpoint {
	labels := map[string]string{}
	for key, value := range e.Labels {
		refused := false
		for _, g := range c.guards {
			covers := g.Spec.Label == key && (len(g.Spec.Values) == 0 || slices.Contains(g.Spec.Values, value))
			if covers && !mayClaim(g, e) {
				refused = true
			}
		}
		if !refused {
			labels[key] = value
		} else if key == "taskwall.environment" {
			e.Environment = ""
		}
	}
	e.Labels = labels
	return e
}

func mayClaim(g *resource.Guard, e policy.Endpoint) bool {
	app, group := e.Labels["taskwall/app"], e.Labels["taskwall/group"]
	if app != "" && slices.Contains(g.Spec.Apps, app) {
		return true
	}
	for _, root := range g.Spec.Groups {
		inside := group == root || strings.HasPrefix(group, strings.TrimSuffix(root, "/")+"/")
		if group != "" && inside {
			return true
		}
	}
	return false
}

// Allowed says whether the packet passes: every end that is an endpoint must
// allow it.
func (c *Cluster) Allowed(p policy.Packet) bool {
	out, in := c.Ends(p)
	return out && in
}

// Ends says whether the sender's end lets the packet out, and the receiver's
// lets it in. An end that is no endpoint allows everything.
func (c *Cluster) Ends(p policy.Packet) (out, in bool) {
	from, source := c.party(p.From)
	to, target := c.party(p.To)
	out = from == nil || c.direction(from, false, p, source, target)
	in = to == nil || c.direction(to, true, p, source, target)
	return out, in
}

func (c *Cluster) party(p policy.Party) (*policy.Endpoint, netip.Addr) {
	for i := range c.endpoints {
		e := &c.endpoints[i]
		if e.ID == p.Endpoint || p.Endpoint == "" && e.Address == p.Address {
			return e, e.Address
		}
	}
	return nil, p.Address
}

// direction says whether an endpoint's policies let the packet in, or out.
func (c *Cluster) direction(e *policy.Endpoint, ingress bool, p policy.Packet, source, target netip.Addr) bool {
	for rest := c.applying(e, ingress); len(rest) > 0; {
		tier := rest[0].TierName()
		var here []*resource.Policy
		for len(rest) > 0 && rest[0].TierName() == tier {
			here, rest = append(here, rest[0]), rest[1:]
		}
		switch c.tier(tier, here, ingress, p, source, target) {
		case "Allow":
			return true
		case "Deny":
			return false
		}
	}
	return false // closed by default
}

// tier is what a tier does with the packet: Allow, Deny, or Pass.
func (c *Cluster) tier(name string, policies []*resource.Policy, ingress bool, p policy.Packet, source, target netip.Addr) string {
	for _, pol := range policies {
		rules := pol.Spec.Egress
		if ingress {
			rules = pol.Spec.Ingress
		}
		for i := range rules {
			if rules[i].Action != "Log" && c.rule(pol, &rules[i], ingress, p, source, target) {
				return rules[i].Action
			}
		}
	}
	if t := c.tiers[name]; t != nil && t.Spec.DefaultAction == "Pass" {
		return "Pass"
	}
	return "Deny"
}

// applying are the policies that apply to an endpoint in a direction, in order.
func (c *Cluster) applying(e *policy.Endpoint, ingress bool) []*resource.Policy {
	var list []*resource.Policy
	for _, p := range c.policies {
		in, out := p.Directions()
		if (ingress && in || !ingress && out) && selects(p, e) {
			list = append(list, p)
		}
	}
	return list
}

func selects(p *resource.Policy, e *policy.Endpoint) bool {
	if ns := p.Metadata.Namespace; ns != "" && e.Environment != ns {
		return false
	}
	if p.Spec.NamespaceSelector != "" && !namespaceMatches(p.Spec.NamespaceSelector, e.Environment) {
		return false
	}
	return matches(p.Spec.Selector, e.Labels, e.Environment)
}

func (c *Cluster) byOrder(a, b *resource.Policy) int {
	return cmp.Or(
		cmp.Compare(c.tierOrder(a.TierName()), c.tierOrder(b.TierName())),
		strings.Compare(a.TierName(), b.TierName()),
		cmp.Compare(order(a.Spec.Order), order(b.Spec.Order)),
		strings.Compare(tieName(a), tieName(b)),
		strings.Compare(a.Kind, b.Kind),
	)
}

func (c *Cluster) tierOrder(name string) float64 {
	if name == resource.DefaultTier {
		return resource.DefaultTierOrder
	}
	return order(c.tiers[name].Spec.Order)
}

// order of what has none: after everything else.
func order(o *float64) float64 {
	if o == nil {
		return math.Inf(1)
	}
	return *o
}

func tieName(p *resource.Policy) string {
	if p.Metadata.Namespace == "" {
		return p.Metadata.Name
	}
	return p.Metadata.Namespace + "/" + p.Metadata.Name
}
