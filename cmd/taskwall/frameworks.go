package main

import (
	"maps"
	"slices"
	"sync"

	"github.com/taskwall/taskwall/events"
)

// frameworks are those of Mesos, as far as the log says: what was known, and
// what the source of Mesos appends. The source of Marathon asks whether one is
// active, the placement which is its own.
type frameworks struct {
	mu sync.Mutex
	by map[string]events.Framework // id
}

func newFrameworks(known *events.Cluster) *frameworks {
	f := &frameworks{by: map[string]events.Framework{}}
	maps.Copy(f.by, known.Frameworks)
	return f
}

// appended takes over what is in the log now.
func (f *frameworks) appended(evs []events.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range evs {
		switch e.Kind {
		case events.FrameworkPut:
			f.by[e.Framework.ID] = *e.Framework
		case events.FrameworkGone:
			delete(f.by, e.Gone.Key)
		}
	}
}

func (f *frameworks) isActive(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[id].Active
}

func (f *frameworks) all() []events.Framework {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.by))
}
