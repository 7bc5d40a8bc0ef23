package main

import (
	"maps"
	"slices"
	"sync"

	"github.com/taskwall/taskwall/events"
)

// running counts the tasks that run of each framework's apps and pods, as far
// as the log says: what was known, and what the source of Mesos appends. The
// source of Marathon asks.
type running struct {
	mu    sync.Mutex
	tasks map[string]appKey // by the task's key
	apps  map[string]map[string]int
}

type appKey struct{ framework, app string }

func newRunning(known *events.Cluster) *running {
	r := &running{tasks: map[string]appKey{}, apps: map[string]map[string]int{}}
	for key, t := range known.Tasks {
		r.put(key, &t)
	}
	return r
}

// appended takes over what is in the log now.
func (r *running) appended(evs []events.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range evs {
		switch e.Kind {
		case events.TaskPut:
			r.put(e.Task.Key(), e.Task)
		case events.TaskGone:
			r.drop(e.Gone.Key)
		}
	}
}

func (r *running) put(key string, t *events.Task) {
	app := ""
	if t.State == "TASK_RUNNING" { // of one that is being killed the app may be deleted
		app = t.App()
	}
	if app == "" {
		r.drop(key)
		return
	}
	if _, counted := r.tasks[key]; counted {
		return
	}
	r.tasks[key] = appKey{t.Framework, app}
	if r.apps[t.Framework] == nil {
		r.apps[t.Framework] = map[string]int{}
	}
	r.apps[t.Framework][app]++
}

func (r *running) drop(key string) {
	k, counted := r.tasks[key]
	if !counted {
		return
	}
	delete(r.tasks, key)
	if r.apps[k.framework][k.app]--; r.apps[k.framework][k.app] == 0 {
		delete(r.apps[k.framework], k.app)
	}
	if len(r.apps[k.framework]) == 0 {
		delete(r.apps, k.framework)
	}
}

// of are the apps and pods of a framework whose tasks run.
func (r *running) of(framework string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.apps[framework]))
}
