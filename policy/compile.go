package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// setSpec says what a set stands for; its id is a hash of that.
type setSpec struct {
	id     string
	kind   work.SetType
	origin string             // for people
	sel    *selector.Selector // nil for a fixed list
	port   string             // of work.Ports: the port's name
	proto  uint8              // and its protocol
	nets   []member           // a fixed list's
}

// compiled is a policy ready for use: selectors scoped to where the policy may
// look, rules that name sets by id, and what those sets stand for.
type compiled struct {
	tier            string
	order           float64 // +Inf when the policy has none
	sel             *selector.Selector
	hasIn, hasOut   bool // whether the policy applies to the direction
	ingress, egress []work.Rule
	needs           []setSpec // once each
	warnings        []resource.Problem
}

// compile turns a checked policy into its working form. It fails only on
// selectors that the check would have refused.
func compile(p *resource.Policy) (*compiled, error) {
	c := &compiled{tier: p.TierName(), order: orderOf(p.Spec.Order)}
	c.hasIn, c.hasOut = p.Directions()
	own, err := selector.Parse(p.Spec.Selector)
	if err != nil {
		return nil, err
	}
	ns := p.Metadata.Namespace
	if ns != "" {
		own = selector.And(selector.Equal(selector.Namespace, ns), own)
	} else if p.Spec.NamespaceSelector != "" {
		in, err := namespaces(p.Spec.NamespaceSelector)
		if err != nil {
			return nil, err
		}
		own = selector.And(in, own)
	}
	c.sel = own
	b := ruleBuilder{compiled: c, policy: p.Key(), text: p.Key().String(), ns: ns, seen: map[string]bool{}}
	if c.hasIn {
		c.ingress, err = b.rules("ingress", p.Spec.Ingress, false)
	}
	if c.hasOut && err == nil {
		c.egress, err = b.rules("egress", p.Spec.Egress, true)
	}
	return c, err
}

func orderOf(o *float64) float64 {
	if o == nil {
		return math.Inf(1)
	}
	return *o
}

func namespaces(text string) (*selector.Selector, error) {
	s, err := selector.Parse(text)
	if err != nil {
		return nil, err
	}
	return selector.Namespaces(s)
}

type ruleBuilder struct {
	*compiled
	policy events.ResourceKey
	text   string
	ns     string
	seen   map[string]bool // set ids in needs
}

func (b *ruleBuilder) rules(list string, rules []resource.Rule, srcIsLocal bool) ([]work.Rule, error) {
	out := make([]work.Rule, 0, len(rules))
	for i := range rules {
		before := len(b.needs)
		rule, why, err := b.rule(&rules[i], srcIsLocal)
		if err != nil {
			return nil, fmt.Errorf("rule %s[%d] of %s: %w", list, i, b.text, err)
		}
		if why != "" {
			for _, s := range b.needs[before:] { // what only this rule named
				delete(b.seen, s.id)
			}
			b.needs = b.needs[:before]
			b.warnings = append(b.warnings, resource.Problem{Field: fmt.Sprintf("spec.%s[%d]", list, i),
				Message: fmt.Sprintf("%s: the rule is not in force: %s", b.text, why)})
			continue
		}
		rule.Index = i
		out = append(out, rule)
	}
	return out, nil
}

// rule compiles one rule. Why says that, and why, no IPv4 packet can match it.
func (b *ruleBuilder) rule(r *resource.Rule, srcIsLocal bool) (rule work.Rule, why string, err error) {
	switch {
	case r.IPVersion == 6:
		return rule, "it is for IPv6, which is closed", nil
	case r.Protocol == resource.ICMPv6:
		return rule, "ICMPv6 is for IPv6, which is closed", nil
	}
	rule = work.Rule{
		Action:      work.Action(strings.ToLower(r.Action)),
		Protocol:    int(r.Protocol),
		NotProtocol: int(r.NotProtocol),
		ICMP:        icmp(r.ICMP),
		NotICMP:     icmp(r.NotICMP),
		Policy:      b.text,
	}
	if rule.Source, why, err = b.side(&r.Source, r.Protocol, srcIsLocal); err != nil || why != "" {
		return rule, why, err
	}
	rule.Dest, why, err = b.side(&r.Destination, r.Protocol, !srcIsLocal)
	return rule, why, err
}

func icmp(i *resource.ICMP) *work.ICMP {
	if i == nil {
		return nil
	}
	return &work.ICMP{Type: *i.Type, Code: i.Code}
}

func (b *ruleBuilder) side(e *resource.Entity, proto resource.Protocol, local bool) (m work.Match, why string, err error) {
	peers, err := b.peers(e)
	if err != nil {
		return m, "", err
	}
	if peers != nil {
		m.Sets = append(m.Sets, b.selected(peers))
	}
	if e.NotSelector != "" {
		not, err := selector.Parse(e.NotSelector)
		if err != nil {
			return m, "", err
		}
		m.NotSets = append(m.NotSets, b.selected(not))
	}
	if len(e.Nets) > 0 {
		nets, err := ipv4(e.Nets)
		if err != nil {
			return m, "", err
		}
		if len(nets) == 0 {
			return m, "all its nets are IPv6, which is closed", nil
		}
		m.Sets = append(m.Sets, b.fixed(nets))
	}
	nets, err := ipv4(e.NotNets) // an IPv4 packet is in no IPv6 network
	if err != nil {
		return m, "", err
	}
	if len(nets) > 0 {
		m.NotSets = append(m.NotSets, b.fixed(nets))
	}
	// A named port is looked up among the endpoints that the rule means. Those
	// on the policy's own side are the policy's own.
	scope := peers
	if scope == nil && local {
		scope = b.sel
	}
	if scope == nil {
		scope = selector.All()
	}
	m.Ports, m.PortSets = b.ports(e.Ports, proto, scope)
	m.NotPorts, m.NotPortSets = b.ports(e.NotPorts, proto, scope)
	return m, "", nil
}

// peers is the selector that an entity's selectors add up to; nil when it has
// none. As in Calico, a namespaced policy sees only its own namespace as soon
// as any selector is given, unless a namespaceSelector says otherwise.
func (b *ruleBuilder) peers(e *resource.Entity) (*selector.Selector, error) {
	var sel, in *selector.Selector
	var err error
	if e.Selector != "" {
		if sel, err = selector.Parse(e.Selector); err != nil {
			return nil, err
		}
	}
	switch {
	case e.NamespaceSelector != "":
		if in, err = namespaces(e.NamespaceSelector); err != nil {
			return nil, err
		}
	case b.ns != "" && (e.Selector != "" || e.NotSelector != ""):
		in = selector.Equal(selector.Namespace, b.ns)
	}
	if sel == nil && in == nil {
		return nil, nil
	}
	return selector.And(in, sel), nil
}

func (b *ruleBuilder) need(s setSpec) string {
	if !b.seen[s.id] {
		b.seen[s.id] = true
		b.needs = append(b.needs, s)
	}
	return s.id
}

func (b *ruleBuilder) selected(s *selector.Selector) string {
	text := s.String()
	return b.need(setSpec{id: "s" + selector.Hash(text), kind: work.Nets, origin: text, sel: s})
}

func (b *ruleBuilder) named(s *selector.Selector, port string, proto resource.Protocol) string {
	text := fmt.Sprintf("%s port %s/%s", s, portProtocols[proto], port)
	return b.need(setSpec{id: "p" + selector.Hash(text), kind: work.Ports, origin: text, sel: s, port: port, proto: uint8(proto)})
}

func (b *ruleBuilder) fixed(nets []netip.Prefix) string {
	spec := setSpec{kind: work.Nets}
	list := make([]string, len(nets))
	for i, p := range nets {
		list[i] = p.String()
		spec.nets = append(spec.nets, netMembers(p)...)
	}
	spec.origin = strings.Join(list, ", ")
	spec.id = "n" + selector.Hash(spec.origin)
	return b.need(spec)
}

// ipv4 are the IPv4 networks of a list, sorted, once each.
func ipv4(list []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, text := range list {
		p, err := resource.ParseNet(text)
		if err != nil {
			return nil, err
		}
		if p.Addr().Is4() {
			nets = append(nets, p)
		}
	}
	slices.SortFunc(nets, netip.Prefix.Compare)
	return slices.Compact(nets), nil
}

func (b *ruleBuilder) ports(ports []resource.Port, proto resource.Protocol, scope *selector.Selector) (ranges []work.PortRange, sets []string) {
	for _, p := range ports {
		if p.Name == "" {
			ranges = append(ranges, work.PortRange{First: p.First, Last: p.Last})
		} else {
			sets = append(sets, b.named(scope, p.Name, proto))
		}
	}
	return ranges, sets
}
