package agent

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/taskwall/taskwall/events/work"
)

// change is what an item changes in a picture: for a snapshot only what
// differs, for sets that are there only the members that come and go. What it
// costs to apply grows with it, not with the picture.
type change struct {
	sets         []work.Set // new ones
	edits        []work.SetEdit
	programs     []work.Program
	fresh        map[string]bool // those of them that the picture did not have, by ID
	endpoints    []work.Endpoint
	routes       []work.Route
	goneRoutes   []work.Route // as they were
	bgp          bool         // how the host speaks BGP, or whether it does
	ended        []string
	gonePrograms []string
	goneSets     []string
}

// plan says what an item changes, without changing the picture.
func plan(s *work.State, it *work.Item) *change {
	c := &change{edits: it.Members, fresh: map[string]bool{}}
	for _, set := range it.Sets {
		old := s.Sets[set.ID]
		if old == nil || old.Type != set.Type {
			c.sets = append(c.sets, set)
			continue
		}
		if e := edit(old, set); len(e.Add) > 0 || len(e.Remove) > 0 {
			c.edits = append(c.edits[:len(c.edits):len(c.edits)], e)
		}
	}
	for _, p := range it.Programs {
		old, ok := s.Programs[p.ID]
		if !ok || !reflect.DeepEqual(old, p) {
			c.programs = append(c.programs, p)
		}
		if !ok {
			c.fresh[p.ID] = true
		}
	}
	for _, e := range it.Endpoints {
		if old, ok := s.Endpoints[e.ID]; !ok || old != e {
			c.endpoints = append(c.endpoints, e)
		}
	}
	for _, r := range it.Routes {
		if old, ok := s.Routes[r.Prefix]; !ok || old != r {
			c.routes = append(c.routes, r)
		}
	}
	c.bgp = !reflect.DeepEqual(it.BGP, s.BGP) && (it.BGP != nil || it.Snapshot)
	var goneRoutes []netip.Prefix
	if d := it.Delete; d != nil {
		goneRoutes, c.ended, c.gonePrograms, c.goneSets = d.Routes, slices.Clone(d.Endpoints), d.Programs, d.Sets
		// What is put and deleted is not in the picture.
		c.endpoints = slices.DeleteFunc(c.endpoints, func(e work.Endpoint) bool { return slices.Contains(d.Endpoints, e.ID) })
		c.programs = slices.DeleteFunc(c.programs, func(p work.Program) bool { return slices.Contains(d.Programs, p.ID) })
	}
	if it.Snapshot {
		goneRoutes = missing(s.Routes, it.Routes, func(r work.Route) netip.Prefix { return r.Prefix })
		slices.SortFunc(goneRoutes, func(a, b netip.Prefix) int { return a.Compare(b) })
		c.ended = append(c.ended, missing(s.Endpoints, it.Endpoints, func(e work.Endpoint) string { return e.ID })...)
		slices.Sort(c.ended)
		c.ended = slices.Compact(c.ended)
		c.gonePrograms = missing(s.Programs, it.Programs, func(p work.Program) string { return p.ID })
		slices.Sort(c.gonePrograms)
		c.goneSets = missing(s.Sets, it.Sets, func(s work.Set) string { return s.ID })
		slices.Sort(c.goneSets)
	}
	for _, p := range goneRoutes {
		r := s.Routes[p]
		r.Prefix = p // also when it was not known
		c.goneRoutes = append(c.goneRoutes, r)
	}
	return c
}

// edit is what turns a set's old members into the new.
func edit(old *work.SetState, set work.Set) work.SetEdit {
	e := work.SetEdit{ID: set.ID}
	in := make(map[string]struct{}, len(set.Members))
	for _, m := range set.Members {
		in[m] = struct{}{}
		if _, ok := old.Members[m]; !ok {
			e.Add = append(e.Add, m)
		}
	}
	for m := range old.Members {
		if _, ok := in[m]; !ok {
			e.Remove = append(e.Remove, m)
		}
	}
	slices.Sort(e.Remove)
	return e
}

// missing are the keys of m that no element of list has.
func missing[K comparable, V, E any](m map[K]V, list []E, key func(E) K) []K {
	left := maps.Clone(m)
	for _, e := range list {
		delete(left, key(e))
	}
	return slices.Collect(maps.Keys(left))
}
