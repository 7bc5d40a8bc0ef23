package main

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler/controller"
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

// watch is a sink that notes what is appended to another.
func (f *frameworks) watch(sink controller.Sink) controller.Sink {
	return func(ctx context.Context, evs ...events.Event) error {
		if err := sink(ctx, evs...); err != nil {
			return err
		}
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
		return nil
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
