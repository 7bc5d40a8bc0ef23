package work

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
}

// SetState is a set with its members as a set.
type SetState struct {
	Type    SetType             `json:"type"`
	Origin  string              `json:"origin,omitempty"`
	Members map[string]struct{} `json:"members"`
}

// NewState returns the picture of a host that nothing was said about.
func NewState() *State {
	return &State{
		Sets:      map[string]*SetState{},
		Programs:  map[string]Program{},
		Endpoints: map[string]Endpoint{},
		Routes:    map[netip.Prefix]Route{},
	}
}

// Apply folds an item into the picture. An item that was already applied
// changes nothing; one that leaves a gap is refused with ErrGap.
func (s *State) Apply(it *Item) error {
	if it.Snapshot {
		if it.Rev < s.Rev {
			return nil
		}
		*s = *NewState()
		s.Rev = it.Rev
	} else {
		if it.Rev <= s.Rev {
			return nil
		}
		if it.Rev != s.Rev+1 {
			return fmt.Errorf("work item %d after %d: %w", it.Rev, s.Rev, ErrGap)
		}
		s.Rev = it.Rev
	}
	for _, set := range it.Sets {
		st := &SetState{Type: set.Type, Origin: set.Origin, Members: make(map[string]struct{}, len(set.Members))}
		for _, m := range set.Members {
			st.Members[m] = struct{}{}
		}
		s.Sets[set.ID] = st
	}
	for _, e := range it.Members {
		st := s.Sets[e.ID]
		if st == nil {
			return fmt.Errorf("work item %d edits set %s, which the host does not have: %w", it.Rev, e.ID, ErrGap)
		}
		for _, m := range e.Add {
			st.Members[m] = struct{}{}
		}
		for _, m := range e.Remove {
			delete(st.Members, m)
		}
	}
	for _, p := range it.Programs {
		s.Programs[p.ID] = p
	}
	for _, e := range it.Endpoints {
		s.Endpoints[e.ID] = e
	}
	for _, r := range it.Routes {
		s.Routes[r.Prefix] = r
	}
	if d := it.Delete; d != nil {
		for _, p := range d.Routes {
			delete(s.Routes, p)
		}
		for _, id := range d.Endpoints {
			delete(s.Endpoints, id)
		}
		for _, id := range d.Programs {
			delete(s.Programs, id)
		}
		for _, id := range d.Sets {
			delete(s.Sets, id)
		}
	}
	return nil
}

// Item is the picture as a snapshot item of its revision, every list sorted.
func (s *State) Item(host string) *Item {
	it := &Item{Host: host, Rev: s.Rev, Snapshot: true}
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

// Digest is a hash of the picture: equal pictures, however they came about,
// have equal digests. The revision and the texts for people count too.
func (s *State) Digest() string {
	b, err := json.Marshal(s.Item(""))
	if err != nil {
		panic("work: encoding a state: " + err.Error()) // plain data: cannot fail
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
