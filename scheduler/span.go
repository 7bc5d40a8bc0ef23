package scheduler

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

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

	change *change // what the event at hand means for it; nil: nothing
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

// need adds a host to those that use a set.
func (s *span) need(h *host, id string) {
	hosts := s.sets[id]
	if hosts == nil {
		hosts = map[*host]bool{}
		s.sets[id] = hosts
	}
	hosts[h] = true
}

// batch gathers what one event means for each host, and in the end makes it
// the hosts' next items. It compares what a host needs with what it needed
// before the event, so the order of the steps in between does not matter. It is
// used for one event after the other.
type batch struct {
	span     *span
	resolver *policy.Resolver
	hosts    []*host   // that have a change
	spare    []*change // empty, to be used again
	consider []string  // endpoints evaluated anew; in the end told if they changed
}

// maxSpare bounds the changes that are kept to be used again: an event that
// concerns every host is rare.
const maxSpare = 64

// change is what one event means for one host. Most events change one or two
// things of it: the lists may name one twice, and maps are made when needed.
type change struct {
	snapshot  bool
	endpoints []string // put or deleted
	programs  []string // put if still in use
	// usedPrograms and usedSets are those that came into use or left it, in that
	// order: what the first word on one says, it was not before.
	usedPrograms, usedSets []use
	edits                  []work.SetEdit
	routes                 map[netip.Prefix]work.Route // put
	noRoutes               map[netip.Prefix]bool       // deleted
	bgp                    bool                        // to be told anew
}

// use is something that came into use, or left it.
type use struct {
	id   string
	came bool
}

func (b *batch) of(h *host) *change {
	if h.change == nil {
		if last := len(b.spare) - 1; last >= 0 {
			h.change, b.spare = b.spare[last], b.spare[:last]
		} else {
			h.change = &change{}
		}
		b.hosts = append(b.hosts, h)
	}
	return h.change
}

// done forgets the event.
func (b *batch) done() {
	for _, h := range b.hosts {
		c := h.change
		h.change = nil
		if len(b.spare) == maxSpare || c.snapshot {
			continue
		}
		clear(c.routes)
		clear(c.noRoutes)
		*c = change{
			endpoints: c.endpoints[:0], programs: c.programs[:0], usedPrograms: c.usedPrograms[:0], usedSets: c.usedSets[:0],
			edits: c.edits[:0], routes: c.routes, noRoutes: c.noRoutes,
		}
		b.spare = append(b.spare, c)
	}
	clear(b.hosts)
	b.hosts, b.consider = b.hosts[:0], b.consider[:0]
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

func (b *batch) useProgram(h *host, id string) {
	if id == "" {
		return
	}
	if h.programs[id]++; h.programs[id] > 1 {
		return
	}
	c := b.of(h)
	c.usedPrograms = append(c.usedPrograms, use{id, true})
	for _, set := range b.span.join(b.resolver, h, id) {
		b.useSet(h, set)
	}
}

func (b *batch) unuseProgram(h *host, id string) {
	if id == "" {
		return
	}
	if h.programs[id]--; h.programs[id] > 0 {
		return
	}
	c := b.of(h)
	c.usedPrograms = append(c.usedPrograms, use{id, false})
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
	if h.sets[id]++; h.sets[id] > 1 {
		return
	}
	c := b.of(h)
	c.usedSets = append(c.usedSets, use{id, true})
	b.span.need(h, id)
}

func (b *batch) unuseSet(h *host, id string) {
	if h.sets[id]--; h.sets[id] > 0 {
		return
	}
	c := b.of(h)
	c.usedSets = append(c.usedSets, use{id, false})
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
	slices.SortFunc(b.hosts, byName)
	var items []*work.Item
	var room []work.Item // for those of the hosts that are left
	for i, h := range b.hosts {
		if !h.joined {
			continue
		}
		if len(room) == 0 {
			room = make([]work.Item, len(b.hosts)-i)
		}
		it := &room[0]
		*it = next
		it.Host = h.name
		if c := h.change; c.snapshot {
			it.Snapshot = true
			b.whole(h, c, it)
		} else if !b.step(h, c, it) {
			continue
		}
		if items == nil {
			items = make([]*work.Item, 0, len(b.hosts))
		}
		h.rev++
		it.Rev = h.rev
		items, room = append(items, it), room[1:]
	}
	return items
}

// step fills an item with the changes alone, and reports whether there are any.
func (b *batch) step(h *host, c *change, it *work.Item) bool {
	var del work.Deletions
	var fresh []string // sets that the host did not have, sorted
	for _, u := range firstUses(c.usedSets) {
		switch needs := h.sets[u.id] > 0; {
		case needs && u.came:
			fresh = append(fresh, u.id)
			it.Sets = append(it.Sets, b.set(u.id))
		case !needs && !u.came:
			del.Sets = append(del.Sets, u.id)
		}
	}
	edits := c.edits                            // in order: they come sorted from the resolver
	if len(edits) > 0 && len(c.usedSets) == 0 { // all are of sets that the host had and has
		it.Members, edits = slices.Clone(edits), nil
	}
	for i, e := range edits {
		if _, told := slices.BinarySearch(fresh, e.ID); h.sets[e.ID] > 0 && !told {
			if it.Members == nil {
				it.Members = make([]work.SetEdit, 0, len(edits)-i)
			}
			it.Members = append(it.Members, e)
		}
	}
	for _, u := range firstUses(c.usedPrograms) {
		switch needs := h.programs[u.id] > 0; {
		case needs && u.came:
			c.programs = append(c.programs, u.id)
		case !needs && !u.came:
			del.Programs = append(del.Programs, u.id)
		}
	}
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
		d := del // most items have none
		it.Delete = &d
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

// firstUses sorts a list in its place by what it is of, and leaves of each the
// first word.
func firstUses(list []use) []use {
	slices.SortStableFunc(list, func(a, b use) int { return strings.Compare(a.id, b.id) })
	return slices.CompactFunc(list, func(a, b use) bool { return a.id == b.id })
}

// once sorts a list in its place and leaves out what it has twice.
func once(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
