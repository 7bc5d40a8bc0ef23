package scheduler

import (
	"bytes"
	"maps"

	"github.com/taskwall/taskwall/events"
)

// credited says who answers for each resource that a change puts, before it is
// applied. For one that is only moved in its files it is who did before.
func (s *State) credited(c *events.PolicyChange, seq uint64) []events.Origin {
	origins := make([]events.Origin, len(c.Put))
	for i := range c.Put {
		r := &c.Put[i]
		origins[i] = events.Origin{Author: c.Author, Commit: c.Commit, Seq: seq, Time: s.now}
		had, exists := s.resolver.Resource(r.ResourceKey)
		if !exists || !bytes.Equal(had.Body, r.Body) {
			continue
		}
		if old, known := s.commits[r.String()]; known {
			origins[i] = old
			if origins[i].Placed = c.Commit; c.Commit == old.Commit {
				origins[i].Placed = ""
			}
		}
	}
	return origins
}

// credit notes who answers for the resources of a change.
func (s *State) credit(c *events.PolicyChange, origins []events.Origin) {
	for _, k := range c.Delete {
		delete(s.commits, k.String())
	}
	for i := range c.Put { // afterwards: what is also deleted is put
		s.commits[c.Put[i].String()] = origins[i]
	}
}

// Commits say by which changes the resources in force got their present form,
// by the resources' keys as text.
func (s *State) Commits() map[string]events.Origin { return maps.Clone(s.commits) }

// Resources are the policy resources in force, sorted by key.
func (s *State) Resources() []events.Resource { return s.resolver.Resources() }

// CheckPolicy says whether a policy change could be applied now. It changes
// nothing.
func (s *State) CheckPolicy(c events.PolicyChange) error { return s.resolver.Check(c.Put, c.Delete) }
