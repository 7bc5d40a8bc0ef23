package resource

import (
	"fmt"
	"math"
	"regexp"
	"slices"

	"github.com/taskwall/taskwall/policy/strict"
)

// Staged reports whether the policy is of a staged kind: written down, but
// not in force.
func (p *Policy) Staged() bool {
	return p.Kind == KindStagedNetworkPolicy || p.Kind == KindStagedGlobalNetworkPolicy
}

// TierName is the tier that the policy is in.
func (p *Policy) TierName() string {
	if p.Spec.Tier == "" {
		return DefaultTier
	}
	return p.Spec.Tier
}

// Directions says whether the policy applies to what comes in to its endpoints
// and to what goes out. Without types, as in Calico: egress if it has egress
// rules, ingress if it has ingress rules or no rules at all.
func (p *Policy) Directions() (ingress, egress bool) {
	if len(p.Spec.Types) == 0 {
		egress = len(p.Spec.Egress) > 0
		return len(p.Spec.Ingress) > 0 || !egress, egress
	}
	return slices.Contains(p.Spec.Types, "Ingress"), slices.Contains(p.Spec.Types, "Egress")
}

// actions are what a rule can do.
var actions = []string{"Allow", "Deny", "Log", "Pass"}

func (p *Policy) check(c *checker) {
	namespaced := p.Kind == KindNetworkPolicy || p.Kind == KindStagedNetworkPolicy
	c.header(&p.Header, namespaced)
	spec := strict.Path{"spec"}
	s := &p.Spec
	if s.StagedAction != "" {
		if !p.Staged() {
			c.fail(spec.Under("stagedAction"), p.Kind+" has no stagedAction", "remove it, or write kind Staged"+p.Kind)
		} else {
			c.oneOf(spec.Under("stagedAction"), s.StagedAction, "Set", "Delete", "Ignore")
		}
	}
	if s.Tier != "" && !validName.MatchString(s.Tier) {
		c.fail(spec.Under("tier"), fmt.Sprintf("%q is no name", s.Tier), "write the name of a Tier")
	}
	if s.Order != nil && (math.IsNaN(*s.Order) || math.IsInf(*s.Order, 0)) {
		c.fail(spec.Under("order"), "not a finite number", "write a finite number")
	}
	c.selector(spec.Under("selector"), s.Selector)
	if s.NamespaceSelector != "" {
		if namespaced {
			c.fail(spec.Under("namespaceSelector"), p.Kind+" applies to its own namespace only", "remove it, or write a GlobalNetworkPolicy")
		} else {
			c.namespaceSelector(spec.Under("namespaceSelector"), s.NamespaceSelector)
		}
	}
	for i, t := range s.Types {
		c.oneOf(spec.Under("types", i), t, "Ingress", "Egress")
		if slices.Contains(s.Types[:i], t) {
			c.fail(spec.Under("types", i), t+" is given twice", "remove one of them")
		}
	}
	for i := range s.Ingress {
		s.Ingress[i].check(c, spec.Under("ingress", i))
	}
	for i := range s.Egress {
		s.Egress[i].check(c, spec.Under("egress", i))
	}
}

func (r *Rule) check(c *checker, p strict.Path) {
	if r.Action == "" {
		c.fail(p.Under("action"), "no action", "write Allow, Deny, Log or Pass")
	} else if !slices.Contains(actions, r.Action) {
		c.oneOf(p.Under("action"), r.Action, actions...)
	}
	if r.IPVersion != 0 && r.IPVersion != 4 && r.IPVersion != 6 {
		c.fail(p.Under("ipVersion"), fmt.Sprintf("there is no IP version %d", r.IPVersion), "write 4 or 6")
	}
	r.checkICMP(c, p, "icmp", r.ICMP)
	r.checkICMP(c, p, "notICMP", r.NotICMP)
	if r.Protocol != 0 && r.Protocol == r.NotProtocol {
		c.fail(p.Under("notProtocol"), "the rule can match nothing: its protocol is excluded", "remove protocol or notProtocol")
	}
	r.checkEntity(c, p, "source", &r.Source)
	r.checkEntity(c, p, "destination", &r.Destination)
	if n := alternatives(r.Source.Ports) * alternatives(r.Destination.Ports); n > maxAlternatives {
		c.fail(p, fmt.Sprintf("its ports make %d rules of the kernel", n), fmt.Sprintf("make at most %d of it: write ranges, or split the rule", maxAlternatives))
	}
}

// maxAlternatives bounds the kernel's rules for one rule: a host closes the
// endpoints of what it cannot program.
const maxAlternatives = 1000

// alternatives is how many of the kernel's rules a list of ports needs at most:
// one compares 15 numbers, of which a range takes two, or one name.
func alternatives(ports []Port) int {
	names, numbers := 0, 0
	for _, p := range ports {
		switch {
		case p.Name != "":
			names++
		case p.First == p.Last:
			numbers++
		default:
			numbers += 2
		}
	}
	return max(1, names+(numbers+13)/14) // a range may leave one of 15 places empty
}

func (r *Rule) checkICMP(c *checker, p strict.Path, name string, i *ICMP) {
	if i == nil {
		return
	}
	p = p.Under(name)
	if r.Protocol != ICMPv4 && r.Protocol != ICMPv6 {
		c.fail(p, "only ICMP has types and codes", "write protocol: ICMP beside it")
	}
	switch {
	case i.Type == nil:
		c.fail(p.Under("type"), "no type", "write type: 0 to 254")
	case *i.Type < 0 || *i.Type > 254:
		c.fail(p.Under("type"), fmt.Sprintf("there is no type %d", *i.Type), "write 0 to 254")
	}
	if i.Code != nil && (*i.Code < 0 || *i.Code > 255) {
		c.fail(p.Under("code"), fmt.Sprintf("there is no code %d", *i.Code), "write 0 to 255")
	}
}

// checkEntity builds a path only for what is written: most fields are not, and
// a cluster has many rules.
func (r *Rule) checkEntity(c *checker, p strict.Path, name string, e *Entity) {
	if len(e.Nets) > 0 {
		c.nets(p.Under(name, "nets"), e.Nets)
	}
	if len(e.NotNets) > 0 {
		c.nets(p.Under(name, "notNets"), e.NotNets)
	}
	if e.Selector != "" {
		c.selector(p.Under(name, "selector"), e.Selector)
	}
	if e.NotSelector != "" {
		c.selector(p.Under(name, "notSelector"), e.NotSelector)
	}
	if e.NamespaceSelector != "" {
		c.namespaceSelector(p.Under(name, "namespaceSelector"), e.NamespaceSelector)
	}
	if len(e.Ports) > 0 {
		r.checkPorts(c, p.Under(name, "ports"), e.Ports)
	}
	if len(e.NotPorts) > 0 {
		r.checkPorts(c, p.Under(name, "notPorts"), e.NotPorts)
	}
}

// dashed is what is meant as a range, and would be taken for a name.
var dashed = regexp.MustCompile(`^([0-9]+)-([0-9]+)$`)

func (r *Rule) checkPorts(c *checker, p strict.Path, ports []Port) {
	if !r.Protocol.HasPorts() {
		c.fail(p, "ports need a protocol that has them", "write protocol: TCP, UDP or SCTP in the rule")
	}
	if !c.written {
		return
	}
	for i, port := range ports {
		if ends := dashed.FindStringSubmatch(port.Name); ends != nil {
			c.fail(p.Under(i), fmt.Sprintf("%q is no range of ports", port.Name), fmt.Sprintf("write \"%s:%s\"", ends[1], ends[2]))
		}
	}
}
