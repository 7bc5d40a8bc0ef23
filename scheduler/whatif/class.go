package whatif

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/policy/resource"
)

// class is endpoints of an app that no rule of either world can tell apart, or
// a network.
type class struct {
	party   Party
	was, is *reach.Class
	suspect bool // the other policies may treat it otherwise
	n       int  // its endpoints that live; of a network 1 while it is named
	pairs   []*pair
}

// pair is a sender and a receiver between which the worlds differ.
type pair struct {
	from, to *class
	flows    []*flow // what is gained, what is lost
	since    time.Time
	open     int // pairs of tasks that there are since then
}

// flow is the pairs with the same answer between the same two parties.
type flow struct {
	Flow
	spans  []reach.Span
	times  []Time // when it was there
	open   int    // its pairs of classes that have tasks now
	opened time.Time
}

// side is an endpoint in one world.
type side struct {
	program string
	sets    []string
	ports   []reach.NamedPort
}

func (w *world) side(e policy.Endpoint) side {
	return side{w.programs[w.r.Posture(e.ID)], w.of(e.Address), w.named(e.Address)}
}

func (s side) key(key []byte) []byte {
	key = appendList(key, append([]string{s.program}, s.sets...))
	for _, p := range s.ports {
		key = appendList(key, []string{p.Set, p.Port})
	}
	return append(key, 0xff)
}

// class finds the class of an endpoint, making it if it is new.
func (r *replay) class(e policy.Endpoint) *class {
	app := e.Labels["taskwall/app"]
	if app == "" {
		app = e.ID
	}
	was, is := r.was.side(e), r.is.side(e)
	suspect := r.suspect(e, was, is)
	key := is.key(was.key(appendList(nil, []string{app, e.Environment})))
	if suspect {
		key = append(key, '!')
	}
	if c := r.classes[string(key)]; c != nil {
		return c
	}
	c := &class{
		party: Party{App: app, Environment: e.Environment}, suspect: suspect,
		was: r.book.Class(was.program, was.sets, was.ports), is: r.book.Class(is.program, is.sets, is.ports),
	}
	r.classes[string(key)] = c
	r.meet(c)
	return c
}

// suspect says whether the worlds may treat an endpoint in different ways: its
// rules differ, or it may be in other sets. Sets have their names from what they
// stand for, so those that only one world uses matter to rules that differ
// alone; and one that both use has other members only when LabelGuards, or the
// network sets that a selector finds, differ.
func (r *replay) suspect(e policy.Endpoint, was, is side) bool {
	if r.was.rules[was.program] != r.is.rules[is.program] {
		return true
	}
	a, b := r.was.r.Guarded(e), r.is.r.Guarded(e)
	if a.Environment != b.Environment || !maps.Equal(a.Labels, b.Labels) {
		return true
	}
	return !slices.Equal(r.is.common(r.was.listed(e.Address, 32)), r.was.common(r.is.listed(e.Address, 32)))
}

// meet compares a new class with those that it may have differing flows with.
func (r *replay) meet(c *class) {
	if r.seen != nil {
		r.seen(c.party)
	}
	r.all = append(r.all, c)
	others := r.suspects
	if c.suspect {
		r.suspects = append(r.suspects, c)
		others = r.all
	}
	for _, d := range others {
		r.compare(c, d)
		if d != c {
			r.compare(d, c)
		}
	}
}

// compare notes in what the worlds differ between a sender and a receiver.
func (r *replay) compare(from, to *class) {
	if from.party.Network != "" && to.party.Network != "" {
		return // nothing here decides on it
	}
	if r.wanted != nil && !r.wanted(from.party, to.party) {
		return
	}
	gained, lost := reach.Changes(reach.Pair{From: from.was, To: to.was}, reach.Pair{From: from.is, To: to.is})
	if len(gained)+len(lost) == 0 {
		return
	}
	p := &pair{from: from, to: to, since: r.now}
	for change, spans := range map[Change][]reach.Span{Gained: gained, Lost: lost} {
		if len(spans) > 0 {
			p.flows = append(p.flows, r.flow(change, from.party, to.party, spans))
		}
	}
	from.pairs = append(from.pairs, p)
	if to != from {
		to.pairs = append(to.pairs, p)
	}
}

func (r *replay) flow(change Change, from, to Party, spans []reach.Span) *flow {
	one := Flow{Change: change, From: from, To: to, Ports: reach.PortsText(spans)}
	key := one.key()
	f := r.flows[key]
	if f == nil {
		f = &flow{Flow: one, spans: spans}
		for _, s := range spans {
			for _, rule := range []*reach.Rule{s.Egress, s.Ingress} {
				if rule != nil && !slices.Contains(f.Rules, *rule) {
					f.Rules = append(f.Rules, *rule)
				}
			}
		}
		r.flows[key] = f
	}
	return f
}

// count changes the number of a class's endpoints, and adds up what its pairs
// were until now.
func (r *replay) count(c *class, by int) {
	if c == nil {
		return
	}
	for _, p := range c.pairs {
		r.settle(p)
	}
	c.n += by
	for _, p := range c.pairs {
		n := p.from.n * p.to.n
		if p.from == p.to {
			n = p.from.n * (p.from.n - 1)
		}
		r.open(p, n)
	}
}

// settle adds up what a pair was since it last changed.
func (r *replay) settle(p *pair) {
	hours := float64(p.open) * r.now.Sub(p.since).Hours()
	for _, f := range p.flows {
		f.PairHours += hours
	}
	p.since = r.now
}

func (r *replay) open(p *pair, n int) {
	for _, f := range p.flows {
		switch {
		case p.open == 0 && n > 0:
			if f.open++; f.open == 1 {
				if f.opened = r.now; f.First.IsZero() {
					f.First = r.now
				}
			}
		case p.open > 0 && n == 0:
			if f.open--; f.open == 0 {
				f.close(r.now)
			}
		}
		f.pairs += n - p.open
		f.MostPairs = max(f.MostPairs, f.pairs)
	}
	p.open = n
}

func (f *flow) close(now time.Time) {
	f.Lasted += now.Sub(f.opened)
	f.Last = now
	switch n := len(f.times); {
	case !now.After(f.opened):
	case n > 0 && !f.times[n-1].To.Before(f.opened):
		f.times[n-1].To = now
	case n < maxTimes:
		f.times = append(f.times, Time{f.opened, now})
	default: // rather too much than too little
		f.times[n-1].To = now
	}
}

// Time is a stretch of time.
type Time struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// maxTimes bounds the stretches that are kept of a flow.
const maxTimes = 1000

// renet brings the networks that policies name up to what sets now list.
func (r *replay) renet() {
	names := map[netip.Prefix][]string{netip.MustParsePrefix("0.0.0.0/0"): nil}
	for _, w := range []*world{r.was, r.is} {
		for _, raw := range w.r.Resources() {
			typed, err := resource.Parse(raw)
			if err != nil {
				continue // it is in force, so it parses
			}
			for _, text := range netsOf(typed) {
				p, err := resource.ParseNet(text)
				if err != nil || !p.Addr().Is4() {
					continue
				}
				if _, known := names[p]; !known {
					names[p] = nil
				}
				if set, ok := typed.(*resource.Set); ok && p.Bits() > 0 && !slices.Contains(names[p], set.Metadata.Name) {
					names[p] = append(names[p], set.Metadata.Name)
				}
			}
		}
	}
	for text, c := range r.networks {
		if p, err := netip.ParsePrefix(text); err != nil || c.n == 0 {
			continue
		} else if _, named := names[p]; !named {
			r.count(c, -1)
			delete(r.networks, text)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(names), netip.Prefix.Compare) {
		if p.IsSingleIP() && len(r.byAddress[p.Addr().String()]) > 0 {
			continue // a task has it
		}
		was, is := r.was.around(p), r.is.around(p)
		suspect := !slices.Equal(r.is.common(was), r.was.common(is))
		key := appendList(appendList(appendList(nil, []string{"net", p.String()}), was), is)
		if suspect {
			key = append(key, '!')
		}
		c := r.classes[string(key)]
		if c == nil {
			slices.Sort(names[p])
			c = &class{party: Party{Network: p.String(), Sets: names[p]}, suspect: suspect, was: r.book.Network(was), is: r.book.Network(is)}
			r.classes[string(key)] = c
			r.meet(c)
		}
		if old := r.networks[p.String()]; old != c {
			r.count(old, -1)
			r.count(c, 1)
			r.networks[p.String()] = c
		}
	}
}

// netsOf are the networks that a resource names.
func netsOf(typed any) []string {
	switch t := typed.(type) {
	case *resource.Set:
		return t.Spec.Nets
	case *resource.Policy:
		var nets []string
		for _, rules := range [][]resource.Rule{t.Spec.Ingress, t.Spec.Egress} {
			for i := range rules {
				for _, e := range []*resource.Entity{&rules[i].Source, &rules[i].Destination} {
					nets = append(append(nets, e.Nets...), e.NotNets...)
				}
			}
		}
		return nets
	}
	return nil
}
