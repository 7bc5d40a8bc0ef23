package policytest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path"
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
	// Protocols of packets; those with ports, ICMP, GRE, ESP and UDPLite when empty.
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
	if g.Pick(4) == 1 { // what is not written has an order and an action of its own
		c.Resources = append(c.Resources, g.Tier(resource.DefaultTier))
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
	if g.Pick(4) == 1 {
		c.Resources = append(c.Resources, g.Staged(0))
	}
	return c
}

// Staged makes the policy number i, not in force.
func (g *Gen) Staged(i int) events.Resource {
	var p resource.Policy
	if err := json.Unmarshal(g.Policy(i).Body, &p); err != nil {
		panic("policytest: decoding a policy: " + err.Error()) // it was just encoded
	}
	p.Kind = "Staged" + p.Kind
	p.Spec.StagedAction = pick(g, []string{"", "Set", "Delete", "Ignore"})
	return Encode(&p)
}

// Tiers are the names of the tiers that policies are in, beside the default
// one.
var Tiers = []string{"security", "platform"}

var (
	keys         = []string{"app", "env", "uses/db", "zone", "taskwall/app", "taskwall/group"}
	values       = []string{"web", "db", "w", "", `it's w`}
	apps         = []string{"/x/web", "/x/y/db", "/web", ""}
	environments = []string{"prod", "dev", ""}
	portNames    = []string{"http", "admin"}
	portNumbers  = []uint16{80, 8080, 443, 9000, 65535}
	portSpeech   = []string{"tcp", "udp", "sctp", "udp,tcp"}
	// Protocols that rules name beside those with ports: GRE, ESP, UDPLite.
	bareNumbers = []resource.Protocol{47, 50, resource.UDPLite}
	icmpTypes   = []int{8, 0, 13, 3}
	nets        = []string{"10.0.0.0/29", "10.0.0.4/30", "10.0.0.5", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"}
	outside     = []string{"192.0.2.7", "192.0.2.200", "198.51.100.1", "10.0.0.250"}
)

func pick[T any](g *Gen, list []T) T { return list[g.Pick(len(list))] }

// maybe is true once in n.
func (g *Gen) maybe(n int) bool { return g.Pick(n) == n-1 }

// Labels makes labels that apps may claim.
func (g *Gen) Labels() map[string]string {
	labels := map[string]string{}
	for _, k := range keys {
		if g.maybe(2) && !strings.HasPrefix(k, "taskwall/") {
			labels[k] = pick(g, values)
		}
	}
	return labels
}

// Environment makes the name of an environment, "" for none.
func (g *Gen) Environment() string { return pick(g, environments) }

// Outside are the addresses of packets that no endpoint has.
func Outside() []netip.Addr {
	list := make([]netip.Addr, len(outside))
	for i, a := range outside {
		list[i] = netip.MustParseAddr(a)
	}
	return list
}

// Pool is an IPPool whose addresses are those of random rules.
func Pool() events.Resource {
	p := resource.Pool{Header: header(resource.KindIPPool, "main", "")}
	p.Spec.CIDR, p.Spec.BlockSize = "10.0.0.0/24", 28
	return Encode(&p)
}

// App makes the id of a Marathon app, "" for none.
func (g *Gen) App() string { return pick(g, apps) }

// Endpoint makes the endpoint number i, from 0 to 199. Number and address
// belong together, the rest is random.
func (g *Gen) Endpoint(i int) policy.Endpoint {
	e := policy.Endpoint{ID: fmt.Sprintf("f/%d", i), Labels: g.Labels(), Environment: pick(g, environments)}
	if e.Environment != "" {
		e.Labels["taskwall.environment"] = e.Environment
	}
	e.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	if app := g.App(); app != "" {
		e.Labels["taskwall/app"], e.Labels["taskwall/group"] = app, path.Dir(app)
	}
	e.Ports = g.Ports()
	return e
}

// Ports makes an endpoint's named ports. A name may stand for two ports.
func (g *Gen) Ports() []events.Port {
	var ports []events.Port
	for _, name := range append(portNames, portNames[0]) {
		if g.maybe(2) {
			ports = append(ports, events.Port{Name: name, Number: int(pick(g, portNumbers)), Protocol: pick(g, portSpeech)})
		}
	}
	return ports
}

// Tier makes a tier.
func (g *Gen) Tier(name string) events.Resource {
	t := resource.Tier{Header: header(resource.KindTier, name, "")}
	if t.Spec.Order = g.order(); name == resource.DefaultTier {
		t.Spec.Order = nil // it is fixed
	}
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
		l.Spec.Groups = []string{"/" + pick(g, []string{"", "x", "x/y"})}
	}
	if g.maybe(3) {
		l.Spec.Apps = []string{pick(g, apps[:3])}
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
	switch g.Pick(7) {
	case 1, 2:
		r.Protocol = resource.TCP
	case 3:
		r.Protocol = resource.UDP
	case 4:
		r.NotProtocol = pick(g, append([]resource.Protocol{resource.TCP, resource.UDP, resource.ICMPv4, resource.SCTP}, bareNumbers...))
	case 5:
		r.Protocol = pick(g, []resource.Protocol{resource.ICMPv4, resource.SCTP, resource.ICMPv6})
	case 6:
		r.Protocol = pick(g, bareNumbers)
	}
	if r.Protocol == resource.ICMPv4 {
		if g.maybe(2) {
			r.ICMP = g.icmp()
		}
		if g.maybe(2) {
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
	kind, code := pick(g, icmpTypes), g.Pick(2)
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
			if g.maybe(4) { // more than the kernel compares at a time
				for i := range uint16(20) {
					e.Ports = append(e.Ports, resource.Port{First: 2000 + 2*i, Last: 2000 + 3*i})
				}
			}
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
	switch g.Pick(4) {
	case 0:
		n := pick(g, portNumbers)
		return resource.Port{First: n, Last: n}
	case 1:
		return resource.Port{First: 80, Last: pick(g, portNumbers[:2])}
	case 2:
		a, b := pick(g, portNumbers), pick(g, portNumbers)
		return resource.Port{First: min(a, b), Last: max(a, b)}
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
	domain := append(values, "prod")
	switch key {
	case "taskwall/app":
		domain = append(apps, "/x")
	case "taskwall/group":
		domain = []string{"/x", "/", "/x/y"}
	}
	value := quote(pick(g, domain))
	switch g.Pick(11) {
	case 0, 1:
		return key + " == " + value
	case 2:
		return key + " != " + value
	case 3:
		return fmt.Sprintf("%s in {%s, %q, }", key, value, pick(g, domain))
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
	case 9:
		return key + pick(g, []string{" in {}", " not in {}"})
	}
	return pick(g, []string{"all()", "global()"})
}

// quote is a value as a selector has it.
func quote(value string) string {
	if strings.Contains(value, "'") {
		return `"` + value + `"`
	}
	return "'" + value + "'"
}

// Packet makes a packet between two endpoints, or one and an address outside.
func (g *Gen) Packet(endpoints []policy.Endpoint) policy.Packet {
	protocols := g.Protocols
	if len(protocols) == 0 {
		protocols = []int{6, 6, 17, 17, 1, 1, 132, int(pick(g, bareNumbers))}
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
		p.ICMPType, p.ICMPCode = pick(g, icmpTypes), g.Pick(2)
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
