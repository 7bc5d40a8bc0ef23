package policytest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// Gen makes random things from small domains, so that they meet. Pick returns
// a number from 0 to n-1; small numbers make simple things, which helps a
// shrinking source such as rapid.
type Gen struct {
	Pick func(n int) int
	// Protocols of packets; TCP, UDP, ICMP, SCTP and GRE when empty.
	Protocols []int
}

// Seeded is a generator from a seed: equal seeds give equal things.
func Seeded(seed uint64) *Gen {
	return &Gen{Pick: rand.New(rand.NewPCG(seed, 0x7461736b77616c6c)).IntN}
}

// Cluster is a moment of a cluster.
type Cluster struct {
	Resources []events.Resource
	Endpoints []policy.Endpoint
}

// Resolver is a new resolver that holds the cluster. An error is Apply's.
func (c *Cluster) Resolver() (*policy.Resolver, error) {
	r := policy.NewResolver()
	if err := r.Apply(c.Resources, nil); err != nil {
		return nil, err
	}
	for _, e := range c.Endpoints {
		r.PutEndpoint(e)
	}
	return r, nil
}

// Cluster makes a cluster with at most so many endpoints and policies. All
// endpoints have addresses of their own, in 10.0.0.0/24.
func (g *Gen) Cluster(endpoints, policies int) Cluster {
	var c Cluster
	for i := range 1 + g.Pick(endpoints) {
		c.Endpoints = append(c.Endpoints, g.Endpoint(i))
	}
	for _, t := range Tiers {
		c.Resources = append(c.Resources, g.Tier(t))
	}
	for i := range g.Pick(5) {
		c.Resources = append(c.Resources, g.Set(i))
	}
	for i := range 1 + g.Pick(policies) {
		c.Resources = append(c.Resources, g.Policy(i))
	}
	if g.Pick(3) == 1 {
		c.Resources = append(c.Resources, g.Guard(0))
	}
	return c
}

// Tiers are the names of the tiers that policies are in, beside the default
// one.
var Tiers = []string{"security", "platform"}

var (
	keys         = []string{"app", "env", "uses/db", "taskwall/app", "zone"}
	values       = []string{"web", "db", "w", ""}
	environments = []string{"prod", "dev", ""}
	portNames    = []string{"http", "admin"}
	portNumbers  = []uint16{80, 8080, 443, 9000}
	nets         = []string{"10.0.0.0/29", "10.0.0.4/30", "10.0.0.5", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"}
	outside      = []string{"192.0.2.7", "192.0.2.200", "198.51.100.1", "10.0.0.250"}
)

func pick[T any](g *Gen, list []T) T { return list[g.Pick(len(list))] }

// maybe is true once in n.
func (g *Gen) maybe(n int) bool { return g.Pick(n) == n-1 }

// Labels makes labels.
func (g *Gen) Labels() map[string]string {
	labels := map[string]string{}
	for _, k := range keys {
		if g.maybe(2) {
			labels[k] = pick(g, values)
		}
	}
	return labels
}

// Endpoint makes the endpoint number i, from 0 to 199. Number and address
// belong together, the rest is random.
func (g *Gen) Endpoint(i int) policy.Endpoint {
	e := policy.Endpoint{ID: fmt.Sprintf("f/%d", i), Labels: g.Labels(), Environment: pick(g, environments)}
	if e.Environment != "" {
		e.Labels["taskwall.environment"] = e.Environment
	}
	e.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	for _, name := range portNames {
		if g.maybe(2) {
			e.Ports = append(e.Ports, events.Port{Name: name, Number: int(pick(g, portNumbers)), Protocol: pick(g, []string{"tcp", "udp"})})
		}
	}
	return e
}

// Tier makes a tier.
func (g *Gen) Tier(name string) events.Resource {
	t := resource.Tier{Header: header(resource.KindTier, name, "")}
	t.Spec.Order = g.order()
	t.Spec.DefaultAction = pick(g, []string{"", "Deny", "Pass"})
	return Encode(&t)
}

// Set makes the network set number i.
func (g *Gen) Set(i int) events.Resource {
	s := resource.Set{Header: header(resource.KindGlobalNetworkSet, fmt.Sprintf("set-%d", i), "")}
	if i%2 == 1 {
		s.Header = header(resource.KindNetworkSet, fmt.Sprintf("set-%d", i), environments[i/2%2])
	}
	s.Metadata.Labels = g.Labels()
	delete(s.Metadata.Labels, "taskwall/app")
	for range g.Pick(3) {
		s.Spec.Nets = append(s.Spec.Nets, pick(g, nets))
	}
	return Encode(&s)
}

// Guard makes the label guard number i.
func (g *Gen) Guard(i int) events.Resource {
	l := resource.Guard{Header: header(resource.KindLabelGuard, fmt.Sprintf("guard-%d", i), "")}
	l.Spec.Label = pick(g, []string{"app", "taskwall.environment", "uses/db"})
	if g.maybe(2) {
		l.Spec.Values = []string{pick(g, []string{"web", "prod"})}
	}
	if g.maybe(2) {
		l.Spec.Groups = []string{"/" + pick(g, []string{"", "x"})}
	}
	return Encode(&l)
}

// Policy makes the policy number i: every second one is a NetworkPolicy.
func (g *Gen) Policy(i int) events.Resource {
	p := resource.Policy{Header: header(resource.KindGlobalNetworkPolicy, fmt.Sprintf("policy-%d", i), "")}
	if i%2 == 1 {
		p.Header = header(resource.KindNetworkPolicy, fmt.Sprintf("policy-%d", i), environments[i/2%2])
	} else if g.maybe(3) {
		p.Spec.NamespaceSelector = g.namespaceSelector()
	}
	p.Spec.Tier = pick(g, append([]string{""}, Tiers...))
	p.Spec.Order = g.order()
	if g.maybe(3) {
		p.Spec.Selector = g.Selector(2)
	}
	switch g.Pick(4) {
	case 1:
		p.Spec.Types = []string{"Ingress"}
	case 2:
		p.Spec.Types = []string{"Egress"}
	case 3:
		p.Spec.Types = []string{"Egress", "Ingress"}
	}
	for range g.Pick(4) {
		p.Spec.Ingress = append(p.Spec.Ingress, g.rule())
	}
	for range g.Pick(4) {
		p.Spec.Egress = append(p.Spec.Egress, g.rule())
	}
	return Encode(&p)
}

func header(kind, name, namespace string) resource.Header {
	return resource.Header{APIVersion: resource.CalicoVersion, Kind: kind, Metadata: resource.Metadata{Name: name, Namespace: namespace}}
}

func (g *Gen) order() *float64 {
	if n := g.Pick(4); n > 0 {
		o := float64(n)
		return &o
	}
	return nil
}

func (g *Gen) rule() resource.Rule {
	r := resource.Rule{Action: pick(g, []string{"Allow", "Allow", "Allow", "Allow", "Deny", "Pass", "Log"})}
	switch g.Pick(6) {
	case 1, 2:
		r.Protocol = resource.TCP
	case 3:
		r.Protocol = resource.UDP
	case 4:
		r.NotProtocol = pick(g, []resource.Protocol{resource.TCP, resource.UDP, 47})
	case 5:
		r.Protocol = pick(g, []resource.Protocol{resource.ICMPv4, resource.SCTP, 47, resource.ICMPv6})
	}
	if r.Protocol == resource.ICMPv4 {
		if g.maybe(2) {
			r.ICMP = g.icmp()
		}
		if g.maybe(3) {
			r.NotICMP = g.icmp()
		}
	}
	if g.maybe(9) {
		r.IPVersion = pick(g, []int{4, 6})
	}
	r.Source, r.Destination = g.entity(r.Protocol), g.entity(r.Protocol)
	return r
}

func (g *Gen) icmp() *resource.ICMP {
	kind, code := g.Pick(2)*8, g.Pick(2)
	i := &resource.ICMP{Type: &kind}
	if g.maybe(2) {
		i.Code = &code
	}
	return i
}

func (g *Gen) entity(p resource.Protocol) resource.Entity {
	var e resource.Entity
	if g.maybe(3) {
		e.Selector = g.Selector(2)
	}
	if g.maybe(8) {
		e.NotSelector = g.Selector(1)
	}
	if g.maybe(6) {
		e.NamespaceSelector = g.namespaceSelector()
	}
	if g.maybe(6) {
		for range 1 + g.Pick(2) {
			e.Nets = append(e.Nets, pick(g, nets))
		}
	}
	if g.maybe(8) {
		e.NotNets = append(e.NotNets, pick(g, nets))
	}
	if p.HasPorts() {
		if g.maybe(3) {
			for range 1 + g.Pick(3) {
				e.Ports = append(e.Ports, g.port())
			}
		}
		if g.maybe(8) {
			e.NotPorts = append(e.NotPorts, g.port())
		}
	}
	return e
}

func (g *Gen) port() resource.Port {
	switch g.Pick(3) {
	case 0:
		n := pick(g, portNumbers)
		return resource.Port{First: n, Last: n}
	case 1:
		return resource.Port{First: 80, Last: pick(g, portNumbers[:2])}
	}
	return resource.Port{Name: pick(g, portNames)}
}

func (g *Gen) namespaceSelector() string {
	return pick(g, []string{
		"all()", "global()", "projectcalico.org/name == 'prod'", "kubernetes.io/metadata.name != 'prod'", "!has(projectcalico.org/name)",
		"projectcalico.org/name in {'dev', 'x'} || global()", "!(projectcalico.org/name starts with 'p')",
	})
}

// Selector makes a selector's text, nested at most so deep.
func (g *Gen) Selector(depth int) string {
	if depth > 0 {
		switch g.Pick(6) {
		case 3:
			return g.Selector(depth-1) + " && " + g.Selector(depth-1)
		case 4:
			return "(" + g.Selector(depth-1) + " || " + g.Selector(depth-1) + ")"
		case 5:
			return "!(" + g.Selector(depth-1) + ")"
		}
	}
	key := pick(g, append(keys, "projectcalico.org/namespace"))
	value := "'" + pick(g, append(values, "prod")) + "'"
	switch g.Pick(10) {
	case 0, 1:
		return key + " == " + value
	case 2:
		return key + " != " + value
	case 3:
		return fmt.Sprintf("%s in {%s, %q}", key, value, pick(g, values))
	case 4:
		return fmt.Sprintf("%s not in {%s}", key, value)
	case 5:
		return "has(" + key + ")"
	case 6:
		return "!has(" + key + ")"
	case 7:
		return key + " contains " + value
	case 8:
		return key + pick(g, []string{" starts", " ends"}) + " with " + value
	}
	return pick(g, []string{"all()", "global()"})
}

// Packet makes a packet between two endpoints, or one and an address outside.
func (g *Gen) Packet(endpoints []policy.Endpoint) policy.Packet {
	protocols := g.Protocols
	if len(protocols) == 0 {
		protocols = []int{6, 17, 1, 132, 47}
	}
	p := policy.Packet{Protocol: pick(g, protocols)}
	p.From, p.To = g.party(endpoints), g.party(endpoints)
	switch p.Protocol {
	case 6, 17, 132:
		p.SrcPort, p.DstPort = pick(g, portNumbers), pick(g, portNumbers)
		if g.maybe(2) {
			p.SrcPort = 40000
		}
	case 1:
		p.ICMPType, p.ICMPCode = g.Pick(2)*8, g.Pick(2)
	}
	return p
}

func (g *Gen) party(endpoints []policy.Endpoint) policy.Party {
	if len(endpoints) == 0 || g.maybe(6) {
		return policy.Party{Address: netip.MustParseAddr(pick(g, outside))}
	}
	e := pick(g, endpoints)
	if g.maybe(4) {
		return policy.Party{Address: e.Address}
	}
	return policy.Party{Endpoint: e.ID}
}

// Text shows a cluster's resources, for the message of a failed test.
func (c *Cluster) Text() string {
	var b strings.Builder
	for _, r := range c.Resources {
		fmt.Fprintf(&b, "%s\n", r.Body)
	}
	for _, e := range c.Endpoints {
		fmt.Fprintf(&b, "%s %s env=%q %v %v\n", e.ID, e.Address, e.Environment, e.Labels, e.Ports)
	}
	return b.String()
}
