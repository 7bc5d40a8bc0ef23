package reach

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// Side is one side of a question: endpoints, by id, and networks. Of the
// networks only the addresses that no endpoint has are meant.
type Side struct {
	Endpoints []string
	Nets      []netip.Prefix
}

// Flow is what one group may send to another.
type Flow struct {
	From  Group  `json:"from"`
	To    Group  `json:"to"`
	Spans []Span `json:"spans"` // by protocol and port; never empty
}

// Group is the tasks of one app and environment that a flow concerns, or a
// network of addresses that no task has.
type Group struct {
	App         string `json:"app,omitempty"` // the endpoint's id when it has no app
	Environment string `json:"environment,omitempty"`
	Tasks       int    `json:"tasks,omitempty"`
	// Endpoints are the ids of the tasks' endpoints, sorted.
	Endpoints []string `json:"endpoints,omitempty"`
	// Network is a network without its parts in Except, for which the answer is
	// another. No task has one of the addresses that are meant.
	Network string   `json:"network,omitempty"`
	Except  []string `json:"except,omitempty"`
	Sets    []string `json:"sets,omitempty"` // the network sets that list it, as "Kind name"
}

// Ports are ports of TCP, UDP or SCTP; for ICMP, types and codes, each as type
// times 256 plus code; of other protocols 0 alone.
type Ports struct {
	Protocol Protocol `json:"protocol"`
	First    uint16   `json:"first"`
	Last     uint16   `json:"last"`
}

// Span is ports that a flow may use, and the rules that let it.
type Span struct {
	Ports
	// Not are the protocols that Other does not stand for, beside TCP, UDP and
	// ICMP: rules name them and decide otherwise.
	Not []Protocol `json:"not,omitempty"`
	// Sources are the source ports that may be used, when not all may.
	Sources []work.PortRange `json:"sources,omitempty"`
	Egress  *Rule            `json:"egress,omitempty"`  // at the sender; absent when it is no endpoint
	Ingress *Rule            `json:"ingress,omitempty"` // at the receiver
}

// Rule names the rule that allows.
type Rule struct {
	Tier   string `json:"tier"`
	Policy string `json:"policy"` // the resource's key as text
	Index  int    `json:"index"`  // from 0
}

// To says who may send to a side. With ports, which may be nil, it says who may
// use some of them. Flows are sorted by receiver, then by sender.
func (x *Index) To(s Side, ports *Ports) []Flow {
	flows := fold(pairs(append(x.everyone(), x.networks(nil)...), x.parties(s), ports))
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Or(a.To.compare(&b.To), a.From.compare(&b.From)) })
	return flows
}

// From says to whom a side may send: see To. Flows are sorted by sender, then
// by receiver.
func (x *Index) From(s Side, ports *Ports) []Flow {
	return x.sorted(x.parties(s), append(x.everyone(), x.networks(nil)...), ports)
}

// Between says what one side may send to another: see From.
func (x *Index) Between(from, to Side, ports *Ports) []Flow {
	return x.sorted(x.parties(from), x.parties(to), ports)
}

func (x *Index) sorted(from, to []party, ports *Ports) []Flow {
	flows := fold(pairs(from, to, ports))
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Or(a.From.compare(&b.From), a.To.compare(&b.To)) })
	return flows
}

func pairs(from, to []party, ports *Ports) []flow {
	var found []flow
	for i := range from {
		for j := range to {
			found = append(found, pair(&from[i], &to[j], ports)...)
		}
	}
	return found
}

// party is those of a class that a question is about.
type party struct {
	class  *class
	groups []*group
	node   *node // of addresses
}

// everyone is all endpoints.
func (x *Index) everyone() []party {
	list := make([]party, len(x.classes))
	for i, c := range x.classes {
		list[i] = party{class: c, groups: c.groups}
	}
	return list
}

// parties are those of one side.
func (x *Index) parties(s Side) []party {
	var list []party
	byClass := map[*class]int{}
	byGroup := map[*group]*group{}
	for _, id := range s.Endpoints {
		c, whole := x.classOf[id], x.groupOf[id]
		if c == nil {
			continue // without an address it can neither send nor receive
		}
		i, known := byClass[c]
		if !known {
			i = len(list)
			byClass[c] = i
			list = append(list, party{class: c})
		}
		part := byGroup[whole]
		if part == nil {
			part = &group{app: whole.app, environment: whole.environment}
			byGroup[whole] = part
			list[i].groups = append(list[i].groups, part)
		}
		part.ids = append(part.ids, id)
	}
	if len(s.Nets) > 0 {
		list = append(list, x.networks(s.Nets)...)
	}
	return list
}

// flow is a Flow before those with equal spans are put together.
type flow struct {
	Flow
	from, to *party
	spans    string // as a key
}

// pair says what passes between two parties, by group.
func pair(from, to *party, ports *Ports) []flow {
	if from.node != nil && to.node != nil {
		return nil // nothing here decides on it
	}
	spans := between(from.class, to.class, ports)
	if len(spans) == 0 {
		return nil
	}
	key := spansKey(spans)
	var list []flow
	for _, sender := range from.sides() {
		for _, t := range to.sides() {
			f := sender
			if from.class == to.class { // what one says to itself stays in it
				if len(t.Endpoints) == 1 {
					f.Endpoints = without(f.Endpoints, t.Endpoints[0])
				} else if len(f.Endpoints) == 1 {
					t.Endpoints = without(t.Endpoints, f.Endpoints[0])
				}
				if len(f.Endpoints) == 0 || len(t.Endpoints) == 0 {
					continue
				}
			}
			list = append(list, flow{Flow{From: f, To: t, Spans: spans}, from, to, key})
		}
	}
	return list
}

func without(ids []string, id string) []string {
	i := slices.Index(ids, id)
	if i < 0 {
		return ids
	}
	return slices.Concat(ids[:i], ids[i+1:])
}

// sides are the groups of a party, or its network.
func (p *party) sides() []Group {
	if p.node != nil {
		return []Group{{Network: p.node.prefix.String(), Sets: p.node.names}}
	}
	list := make([]Group, len(p.groups))
	for i, g := range p.groups {
		list[i] = Group{App: g.app, Environment: g.environment, Endpoints: g.ids}
	}
	return list
}

// fold puts flows between the same apps with the same spans together, says of
// networks which of their parts have another answer, and leaves out parts that
// have the same and no name of their own.
func fold(found []flow) []Flow {
	answers := map[answer]string{}
	for i := range found {
		f := &found[i]
		if f.from.node != nil {
			answers[answer{f.to.class, f.from.node}] = f.spans
		} else if f.to.node != nil {
			answers[answer{f.from.class, f.to.node}] = f.spans
		}
	}
	index := map[string]int{}
	list := []Flow{}
	for i := range found {
		f := &found[i]
		switch {
		case f.from.node != nil && !f.from.node.said(f.to.class, f.spans, answers):
			f.From.Except = f.from.node.except(f.to.class, f.spans, answers)
		case f.to.node != nil && !f.to.node.said(f.from.class, f.spans, answers):
			f.To.Except = f.to.node.except(f.from.class, f.spans, answers)
		case f.from.node != nil || f.to.node != nil:
			continue
		}
		key := f.From.key() + f.To.key() + f.spans
		at, known := index[key]
		if !known {
			at = len(list)
			index[key] = at
			list = append(list, f.Flow)
			list[at].From.Endpoints, list[at].To.Endpoints = nil, nil
		}
		l := &list[at]
		l.From.Endpoints = append(l.From.Endpoints, f.From.Endpoints...)
		l.To.Endpoints = append(l.To.Endpoints, f.To.Endpoints...)
	}
	for i := range list {
		for _, g := range []*Group{&list[i].From, &list[i].To} {
			slices.Sort(g.Endpoints)
			g.Endpoints = slices.Compact(g.Endpoints)
			g.Tasks = len(g.Endpoints)
		}
	}
	return list
}

func (g *Group) key() string {
	return strings.Join(append([]string{g.App, g.Environment, g.Network}, g.Except...), "\x00") + "\x01"
}

func (g *Group) compare(o *Group) int {
	return cmp.Or(cmp.Compare(g.App, o.App), cmp.Compare(g.Environment, o.Environment), comparePrefix(g.Network, o.Network))
}

// comparePrefix puts apps, which have none, first and then larger networks
// before their parts.
func comparePrefix(a, b string) int {
	p, _ := netip.ParsePrefix(a)
	q, _ := netip.ParsePrefix(b)
	return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
}
