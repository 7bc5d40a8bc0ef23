package main

import (
	"context"
	"sync"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// frameworks are those that Mesos calls active, as far as the log says: what
// was known, and what the source of Mesos appends. The source of Marathon asks.
type frameworks struct {
	mu     sync.Mutex
	active map[string]bool
}

func newFrameworks(known *events.Cluster) *frameworks {
	f := &frameworks{active: map[string]bool{}}
	for id, fw := range known.Frameworks {
		f.active[id] = fw.Active
	}
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
				f.active[e.Framework.ID] = e.Framework.Active
			case events.FrameworkGone:
				delete(f.active, e.Gone.Key)
			}
		}
		return nil
	}
}

func (f *frameworks) isActive(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active[id]
}
