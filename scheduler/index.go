package scheduler

import "github.com/taskwall/taskwall/events"

// facts keeps the indexes of the cluster's tasks, and returns the endpoints
// that the event may change. It runs before the event is folded.
func (s *State) facts(ev events.Event) []string {
	switch ev.Kind {
	case events.TaskPut:
		dirty := holders(ev.Task)
		old, had := s.cluster.Tasks[ev.Task.Key()]
		if had && old.Executor == ev.Task.Executor && old.Agent == ev.Task.Agent && old.Framework == ev.Task.Framework && old.Nested == ev.Task.Nested {
			if !s.settled(&old, ev.Task) {
				return dirty // the indexes have it
			}
			for _, holder := range dirty {
				for id := range s.byExecutor[holder] {
					s.touched = append(s.touched, id)
				}
			}
			return nil
		}
		if had {
			s.unindex(&old)
			dirty = append(dirty, holders(&old)...)
		}
		s.index(ev.Task)
		return dirty
	case events.TaskGone:
		if old, had := s.cluster.Tasks[ev.Gone.Key]; had {
			s.unindex(&old)
			return holders(&old)
		}
	case events.HostPut:
		return events.SortedKeys(s.byAgent[ev.Host.Agent])
	case events.HostGone:
		return events.SortedKeys(s.byAgent[ev.Gone.Key])
	case events.FrameworkPut:
		return events.SortedKeys(s.byFramework[ev.Framework.ID])
	case events.MarathonPut:
		dirty := events.SortedKeys(s.byFramework[ev.Marathon.Framework])
		if m := s.cluster.Marathon; m != nil && m.Framework != ev.Marathon.Framework {
			dirty = append(dirty, events.SortedKeys(s.byFramework[m.Framework])...)
		}
		return dirty
	}
	return nil
}

// holders are what a task keeps alive that has endpoints: its executor, as
// work.ExecutorOf names it, and for one that is nested the task itself.
func holders(t *events.Task) []string {
	if t.Nested {
		return []string{t.ExecutorKey(), t.Endpoint()}
	}
	return []string{t.ExecutorKey()}
}

func (s *State) index(t *events.Task) {
	for _, holder := range holders(t) {
		enter(s.tasks, holder, t.Key())
		enter(s.byAgent, t.Agent, holder)
		enter(s.byFramework, t.Framework, holder)
	}
}

func (s *State) unindex(t *events.Task) {
	for _, holder := range holders(t) {
		leave(s.tasks, holder, t.Key())
		others := false // on the same agent: an executor's id may be used on several
		for key := range s.tasks[holder] {
			others = others || s.cluster.Tasks[key].Agent == t.Agent
		}
		if !others {
			leave(s.byAgent, t.Agent, holder)
		}
		if len(s.tasks[holder]) == 0 {
			leave(s.byFramework, t.Framework, holder)
		}
	}
}

func enter(index map[string]map[string]bool, key, member string) {
	if index[key] == nil {
		index[key] = map[string]bool{}
	}
	index[key][member] = true
}

func leave(index map[string]map[string]bool, key, member string) {
	delete(index[key], member)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}
