package work

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// State is a host's whole picture: what all items up to Rev add up to. The
// agent keeps one as its wanted state, the controller can rebuild one per host
// from the items alone. The zero value is not ready: use NewState.
type State struct {
	Rev       uint64                 `json:"rev"`
	Sets      map[string]*SetState   `json:"sets"`
	Programs  map[string]Program     `json:"programs"`
	Endpoints map[string]Endpoint    `json:"endpoints"`
	Routes    map[netip.Prefix]Route `json:"routes"`
	BGP       *BGP                   `json:"bgp,omitempty"` // nil: the host speaks none

	sum      sum            // of all elements; only Apply and decoding may change the maps
	programs map[string]sum // of each of Programs: their text is long
}

// SetState is a set with its members as a set.
type SetState struct {
	Type    SetType             `json:"type"`
	Origin  string              `json:"origin,omitempty"`
	Members map[string]struct{} `json:"members"`

	sum sum // of the set and its members
}

// NewState returns the picture of a host that nothing was said about.
func NewState() *State {
	return &State{
		Sets:      map[string]*SetState{},
		Programs:  map[string]Program{},
		Endpoints: map[string]Endpoint{},
		Routes:    map[netip.Prefix]Route{},
		programs:  map[string]sum{},
	}
}

// Apply folds an item into the picture. An item that was already applied
// changes nothing; one that leaves a gap, or edits a set that the picture does
// not have, is refused with ErrGap and changes nothing either.
func (s *State) Apply(it *Item) error {
	switch {
	case it.Snapshot && it.Rev < s.Rev, !it.Snapshot && it.Rev <= s.Rev:
		return nil
	case !it.Snapshot && it.Rev != s.Rev+1:
		return fmt.Errorf("work item %d after %d: %w", it.Rev, s.Rev, ErrGap)
	}
	for _, e := range it.Members {
		_, had := s.Sets[e.ID]
		if (!had || it.Snapshot) && !slices.ContainsFunc(it.Sets, func(set Set) bool { return set.ID == e.ID }) {
			return fmt.Errorf("work item %d edits set %s, which the host does not have: %w", it.Rev, e.ID, ErrGap)
		}
	}
	if it.Snapshot {
		*s = *NewState()
	}
	s.Rev = it.Rev
	for _, set := range it.Sets {
		s.putSet(set)
	}
	for _, e := range it.Members {
		s.editSet(e)
	}
	for _, p := range it.Programs {
		s.sum.remove(s.programs[p.ID]) // zero if there is none
		s.Programs[p.ID] = p
		s.addProgram(p.ID, p)
	}
	for i := range it.Endpoints {
		e := &it.Endpoints[i]
		if old, had := s.Endpoints[e.ID]; had {
			s.sum.remove(endpointElement(&old))
		}
		s.Endpoints[e.ID] = *e
		s.sum.add(endpointElement(e))
	}
	for i := range it.Routes {
		r := &it.Routes[i]
		if old, had := s.Routes[r.Prefix]; had {
			s.sum.remove(routeElement(&old))
		}
		s.Routes[r.Prefix] = *r
		s.sum.add(routeElement(r))
	}
	if it.BGP != nil {
		s.dropBGP()
		s.BGP = it.BGP
		s.sum.add(bgpElement(it.BGP))
	}
	if d := it.Delete; d != nil {
		for _, p := range d.Routes {
			s.dropRoute(p)
		}
		for _, id := range d.Endpoints {
			s.dropEndpoint(id)
		}
		for _, id := range d.Programs {
			s.dropProgram(id)
		}
		for _, id := range d.Sets {
			s.dropSet(id)
		}
	}
	return nil
}

func (s *State) putSet(set Set) {
	s.dropSet(set.ID)
	st := &SetState{Type: set.Type, Origin: set.Origin, Members: make(map[string]struct{}, len(set.Members))}
	st.sum = setElement(set.ID, st)
	for _, m := range set.Members {
		st.put(set.ID, m)
	}
	s.Sets[set.ID] = st
	s.sum.add(st.sum)
}

func (s *State) editSet(e SetEdit) {
	st := s.Sets[e.ID]
	s.sum.remove(st.sum)
	for _, m := range e.Add {
		st.put(e.ID, m)
	}
	for _, m := range e.Remove {
		had := len(st.Members)
		if delete(st.Members, m); len(st.Members) < had {
			st.sum.remove(memberElement(e.ID, m))
		}
	}
	s.sum.add(st.sum)
}

func (st *SetState) put(id, member string) {
	had := len(st.Members)
	if st.Members[member] = struct{}{}; len(st.Members) > had {
		st.sum.add(memberElement(id, member))
	}
}

func (s *State) dropSet(id string) {
	if st, ok := s.Sets[id]; ok {
		s.sum.remove(st.sum)
		delete(s.Sets, id)
	}
}

func (s *State) addProgram(id string, p Program) {
	sum := programElement(&p)
	s.programs[id] = sum
	s.sum.add(sum)
}

func (s *State) dropProgram(id string) {
	if _, ok := s.Programs[id]; ok {
		s.sum.remove(s.programs[id])
		delete(s.Programs, id)
		delete(s.programs, id)
	}
}

func (s *State) dropEndpoint(id string) {
	if e, ok := s.Endpoints[id]; ok {
		s.sum.remove(endpointElement(&e))
		delete(s.Endpoints, id)
	}
}

func (s *State) dropRoute(prefix netip.Prefix) {
	if r, ok := s.Routes[prefix]; ok {
		s.sum.remove(routeElement(&r))
		delete(s.Routes, prefix)
	}
}

func (s *State) dropBGP() {
	if s.BGP != nil {
		s.sum.remove(bgpElement(s.BGP))
		s.BGP = nil
	}
}

// Item is the picture as a snapshot item of its revision, every list sorted.
func (s *State) Item(host string) *Item {
	it := &Item{Host: host, Rev: s.Rev, Snapshot: true, BGP: s.BGP}
	for id, st := range s.Sets {
		set := Set{ID: id, Type: st.Type, Origin: st.Origin, Members: make([]string, 0, len(st.Members))}
		for m := range st.Members {
			set.Members = append(set.Members, m)
		}
		slices.Sort(set.Members)
		it.Sets = append(it.Sets, set)
	}
	for _, p := range s.Programs {
		it.Programs = append(it.Programs, p)
	}
	for _, e := range s.Endpoints {
		it.Endpoints = append(it.Endpoints, e)
	}
	for _, r := range s.Routes {
		it.Routes = append(it.Routes, r)
	}
	slices.SortFunc(it.Sets, func(a, b Set) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(it.Programs, func(a, b Program) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(it.Endpoints, func(a, b Endpoint) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(it.Routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return it
}
