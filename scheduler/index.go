package scheduler

import (
	"slices"

	"github.com/taskwall/taskwall/events"
)

// facts keeps the indexes of the cluster's tasks, and returns the endpoints
// that the event may change. It runs before the event is folded.
func (s *State) facts(ev events.Event) []string {
	switch ev.Kind {
	case events.TaskPut:
		key := ev.Task.Key()
		dirty := holders(key, ev.Task)
		old, had := s.cluster.Tasks[key]
		if had && old.Executor == ev.Task.Executor && old.Agent == ev.Task.Agent && old.Framework == ev.Task.Framework && old.Nested == ev.Task.Nested {
			if !s.settled(&old, ev.Task, dirty) {
				return dirty // the indexes have it
			}
			for _, holder := range dirty {
				s.touched = append(s.touched, s.byExecutor[holder]...)
			}
			return nil
		}
		var before []string
		if had {
			before = holders(key, &old)
			s.unindex(key, &old, before)
		}
		s.index(key, ev.Task, dirty)
		return append(dirty, before...)
	case events.TaskGone:
		if old, had := s.cluster.Tasks[ev.Gone.Key]; had {
			dirty := holders(ev.Gone.Key, &old)
			s.unindex(ev.Gone.Key, &old, dirty)
			return dirty
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
func holders(key string, t *events.Task) []string {
	executor := key // of a command task
	if t.Executor != t.ID {
		executor = t.ExecutorKey()
	}
	if t.Nested {
		return []string{executor, t.Endpoint()}
	}
	return []string{executor}
}

func (s *State) index(key string, t *events.Task, holders []string) {
	for _, holder := range holders {
		enterFew(s.tasks, holder, key)
		enter(s.byAgent, t.Agent, holder)
		enter(s.byFramework, t.Framework, holder)
	}
}

func (s *State) unindex(key string, t *events.Task, holders []string) {
	for _, holder := range holders {
		leaveFew(s.tasks, holder, key)
		others := false // on the same agent: an executor's id may be used on several
		for _, key := range s.tasks[holder] {
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

// enterFew is enter for an index of which most keys have one member or two, which
// it keeps sorted.
func enterFew(index map[string][]string, key, member string) {
	members := index[key]
	if i, has := slices.BinarySearch(members, member); !has {
		index[key] = slices.Insert(members, i, member)
	}
}

func leaveFew(index map[string][]string, key, member string) {
	members := index[key]
	switch i, has := slices.BinarySearch(members, member); {
	case !has:
	case len(members) == 1:
		delete(index, key)
	default:
		index[key] = slices.Delete(members, i, i+1)
	}
}

func enter(index map[string]map[string]bool, key, member string) {
	members := index[key]
	if members == nil {
		members = map[string]bool{}
		index[key] = members
	}
	members[member] = true
}

func leave(index map[string]map[string]bool, key, member string) {
	delete(index[key], member)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}
