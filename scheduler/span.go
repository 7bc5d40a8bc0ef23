package scheduler

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
)

// host is a machine as the scheduler sees it: who it is, and what it was told.
// It is never forgotten, so that its revisions go on when it comes back.
type host struct {
	name    string
	rev     uint64 // of the last item made for it
	joined  bool   // its agent has asked for work at least once
	address netip.Addr
	agents  map[string]bool // Mesos agent ids on it; none: the host is gone
	// attributes are those of its Mesos agents, also after they are gone.
	attributes map[string]string

	speaks   bool      // BGP; else its routes are static
	seat     *seat     // nil: it takes no part in BGP
	bgp      *work.BGP // as it was told; nil: it speaks none
	drain    *drained  // the last word on draining it, if any
	sessions map[string]session
	refusals map[string]refusals

	endpoints map[string]work.Endpoint // what it is told of its own endpoints
	ending    map[string]netip.Addr    // endpoints deleted, their Detached not yet heard
	programs  map[string]int           // postures in use → its endpoints with them
	sets      map[string]int           // sets in use → its programs that refer to them
}

func newHost(name string) *host {
	return &host{
		name:      name,
		agents:    map[string]bool{},
		endpoints: map[string]work.Endpoint{},
		ending:    map[string]netip.Addr{},
		programs:  map[string]int{},
		sets:      map[string]int{},
		sessions:  map[string]session{},
		refusals:  map[string]refusals{},
	}
}

// span knows which hosts need which postures and sets, so that a change is
// brought to just those.
type span struct {
	programs map[string]program        // by posture, those that some host uses
	sets     map[string]map[*host]bool // hosts that use a set
}

// program is a posture in use: its program as last told, and by whom.
type program struct {
	work.Program
	sets  []string // Program.SetIDs
	hosts map[*host]bool
}

func newSpan() *span {
	return &span{programs: map[string]program{}, sets: map[string]map[*host]bool{}}
}

// join adds a host to those that use a posture, and returns the posture's sets.
func (s *span) join(r *policy.Resolver, h *host, id string) (sets []string) {
	p, ok := s.programs[id]
	if !ok {
		prog, found := r.Program(id)
		if !found {
			panic("scheduler: the resolver gave posture " + id + " and has no program for it")
		}
		p = program{Program: prog, sets: prog.SetIDs(), hosts: map[*host]bool{}}
		s.programs[id] = p
	}
	p.hosts[h] = true
	return p.sets
}

// need counts one more program of a host that refers to a set.
func (s *span) need(h *host, id string) {
	h.sets[id]++
	hosts := s.sets[id]
	if hosts == nil {
		hosts = map[*host]bool{}
		s.sets[id] = hosts
	}
	hosts[h] = true
}

// batch gathers what one event means for each host, and in the end makes it
// the hosts' next items. It compares what a host needs with what it needed
// before the event, so the order of the steps in between does not matter.
type batch struct {
	span     *span
	resolver *policy.Resolver
	changes  map[*host]*change
	consider []string // endpoints evaluated anew; in the end told if they changed
}

func newBatch(s *span, r *policy.Resolver) *batch {
	return &batch{span: s, resolver: r, changes: map[*host]*change{}}
}

// change is what one event means for one host. Most events change one or two
// things of it: the lists may name one twice, and maps are made when needed.
type change struct {
	snapshot   bool
	endpoints  []string        // put or deleted
	programs   []string        // put if still in use
	hadProgram map[string]bool // touched → in use before
	hadSet     map[string]bool // touched → in use before
	edits      []work.SetEdit
	routes     map[netip.Prefix]work.Route // put
	noRoutes   map[netip.Prefix]bool       // deleted
	bgp        bool                        // to be told anew
}

func (b *batch) of(h *host) *change {
	c := b.changes[h]
	if c == nil {
		c = &change{}
		b.changes[h] = c
	}
	return c
}

// putEndpoint tells the host of an endpoint, or of a change of one.
func (b *batch) putEndpoint(h *host, e work.Endpoint) {
	old, had := h.endpoints[e.ID]
	if had && old == e {
		return
	}
	h.endpoints[e.ID] = e
	delete(h.ending, e.ID)
	c := b.of(h)
	c.endpoints = append(c.endpoints, e.ID)
	if had && old.Posture == e.Posture {
		return
	}
	b.useProgram(h, e.Posture)
	if had {
		b.unuseProgram(h, old.Posture)
	}
}

// deleteEndpoint tells the host that an endpoint has ended.
func (b *batch) deleteEndpoint(h *host, id string) {
	old, had := h.endpoints[id]
	if !had {
		return
	}
	delete(h.endpoints, id)
	h.ending[id] = old.Address
	c := b.of(h)
	c.endpoints = append(c.endpoints, id)
	b.unuseProgram(h, old.Posture)
}

// remember notes how something was before the event, once.
func remember(before *map[string]bool, id string, was bool) {
	if _, touched := (*before)[id]; touched {
		return
	}
	if *before == nil {
		*before = map[string]bool{}
	}
	(*before)[id] = was
}

func (b *batch) useProgram(h *host, id string) {
	if id == "" {
		return
	}
	remember(&b.of(h).hadProgram, id, h.programs[id] > 0)
	if h.programs[id]++; h.programs[id] > 1 {
		return
	}
	for _, set := range b.span.join(b.resolver, h, id) {
		b.useSet(h, set)
	}
}

func (b *batch) unuseProgram(h *host, id string) {
	if id == "" {
		return
	}
	remember(&b.of(h).hadProgram, id, h.programs[id] > 0)
	if h.programs[id]--; h.programs[id] > 0 {
		return
	}
	delete(h.programs, id)
	p := b.span.programs[id]
	delete(p.hosts, h)
	if len(p.hosts) == 0 {
		delete(b.span.programs, id)
	}
	for _, set := range p.sets {
		b.unuseSet(h, set)
	}
}

func (b *batch) useSet(h *host, id string) {
	remember(&b.of(h).hadSet, id, h.sets[id] > 0)
	b.span.need(h, id)
}

func (b *batch) unuseSet(h *host, id string) {
	remember(&b.of(h).hadSet, id, h.sets[id] > 0)
	if h.sets[id]--; h.sets[id] > 0 {
		return
	}
	delete(h.sets, id)
	delete(b.span.sets[id], h)
	if len(b.span.sets[id]) == 0 {
		delete(b.span.sets, id)
	}
}

// putProgram brings a changed program to the hosts that use its posture.
func (b *batch) putProgram(prog work.Program) {
	p, used := b.span.programs[prog.ID]
	if !used {
		return
	}
	sets := prog.SetIDs()
	for _, h := range sortedHosts(p.hosts) {
		c := b.of(h)
		c.programs = append(c.programs, prog.ID)
		for _, id := range sets {
			b.useSet(h, id)
		}
		for _, id := range p.sets {
			b.unuseSet(h, id)
		}
	}
	p.Program, p.sets = prog, sets
	b.span.programs[prog.ID] = p
}

// edit brings a set's new and lost members to the hosts that use it.
func (b *batch) edit(e work.SetEdit) {
	for h := range b.span.sets[e.ID] { // in any order: each gets it once
		c := b.of(h)
		c.edits = append(c.edits, e)
	}
}

// putRoute tells a host the way to a block.
func (b *batch) putRoute(h *host, r work.Route) {
	c := b.of(h)
	if c.routes == nil {
		c.routes = map[netip.Prefix]work.Route{}
	}
	c.routes[r.Prefix] = r
	delete(c.noRoutes, r.Prefix)
}

// dropRoute tells a host that there is no static way to a block any more.
func (b *batch) dropRoute(h *host, p netip.Prefix) {
	c := b.of(h)
	delete(c.routes, p)
	if c.noRoutes == nil {
		c.noRoutes = map[netip.Prefix]bool{}
	}
	c.noRoutes[p] = true
}

// items makes the gathered changes the next items of the hosts, in the order
// of their names. A host that never joined gets none: it will get a snapshot.
func (b *batch) items(next work.Item) []*work.Item {
	hosts := make([]*host, 0, len(b.changes))
	for h := range b.changes {
		if h.joined {
			hosts = append(hosts, h)
		}
	}
	slices.SortFunc(hosts, byName)
	var items []*work.Item
	for _, h := range hosts {
		it := next
		it.Host = h.name
		if c := b.changes[h]; c.snapshot {
			it.Snapshot = true
			b.whole(h, c, &it)
		} else if !b.step(h, c, &it) {
			continue
		}
		h.rev++
		it.Rev = h.rev
		items = append(items, &it)
	}
	return items
}

// step fills an item with the changes alone, and reports whether there are any.
func (b *batch) step(h *host, c *change, it *work.Item) bool {
	var del work.Deletions
	var fresh []string // sets that the host did not have, sorted
	for _, id := range events.SortedKeys(c.hadSet) {
		switch had, needs := c.hadSet[id], h.sets[id] > 0; {
		case needs && !had:
			fresh = append(fresh, id)
			it.Sets = append(it.Sets, b.set(id))
		case had && !needs:
			del.Sets = append(del.Sets, id)
		}
	}
	for _, e := range c.edits { // in order: edits come sorted from the resolver
		if _, told := slices.BinarySearch(fresh, e.ID); h.sets[e.ID] > 0 && !told {
			it.Members = append(it.Members, e)
		}
	}
	for id := range c.hadProgram {
		switch had, needs := c.hadProgram[id], h.programs[id] > 0; {
		case needs && !had:
			c.programs = append(c.programs, id)
		case had && !needs:
			del.Programs = append(del.Programs, id)
		}
	}
	slices.Sort(del.Programs)
	for _, id := range once(c.programs) {
		if h.programs[id] > 0 {
			it.Programs = append(it.Programs, b.span.programs[id].Program)
		}
	}
	for _, id := range once(c.endpoints) {
		if e, ok := h.endpoints[id]; ok {
			it.Endpoints = append(it.Endpoints, e)
		} else {
			del.Endpoints = append(del.Endpoints, id)
		}
	}
	for _, p := range sortedPrefixes(c.routes) {
		it.Routes = append(it.Routes, c.routes[p])
	}
	del.Routes = sortedPrefixes(c.noRoutes)
	if c.bgp {
		it.BGP = h.bgp
	}
	if len(del.Routes)+len(del.Endpoints)+len(del.Programs)+len(del.Sets) > 0 {
		it.Delete = &del
	}
	return it.Delete != nil || it.BGP != nil || len(it.Sets)+len(it.Members)+len(it.Programs)+len(it.Endpoints)+len(it.Routes) > 0
}

// whole fills an item with all that the host needs. The routes of the change
// must be all of them.
func (b *batch) whole(h *host, c *change, it *work.Item) {
	for _, id := range slices.Sorted(maps.Keys(h.sets)) {
		it.Sets = append(it.Sets, b.set(id))
	}
	for _, id := range slices.Sorted(maps.Keys(h.programs)) {
		it.Programs = append(it.Programs, b.span.programs[id].Program)
	}
	for _, id := range slices.Sorted(maps.Keys(h.endpoints)) {
		it.Endpoints = append(it.Endpoints, h.endpoints[id])
	}
	for _, p := range sortedPrefixes(c.routes) {
		it.Routes = append(it.Routes, c.routes[p])
	}
	it.BGP = h.bgp
	if len(h.ending) > 0 {
		it.Delete = &work.Deletions{Endpoints: slices.Sorted(maps.Keys(h.ending))}
	}
}

func (b *batch) set(id string) work.Set {
	set, ok := b.resolver.Set(id)
	if !ok {
		panic("scheduler: a program refers to set " + id + ", which the resolver does not have")
	}
	return set
}

func sortedHosts(hosts map[*host]bool) []*host {
	return slices.SortedFunc(maps.Keys(hosts), byName)
}

func byName(a, b *host) int { return strings.Compare(a.name, b.name) }

// once sorts a list in its place and leaves out what it has twice.
func once(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
