package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/strict"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/timeline"
)

// meant says which of the names that there are was most likely meant by one that
// is not among them: the nearest, and those that hold it; "" when there is none.
func meant(name string, known []string) string {
	var near []string
	if n := strict.Nearest(name, known); n != "" {
		near = append(near, n)
	}
	for _, k := range known {
		if len(near) == 3 {
			break
		}
		if part := strings.Trim(strings.ToLower(name), "/"); part != "" && strings.Contains(strings.ToLower(k), part) && !slices.Contains(near, k) {
			near = append(near, k)
		}
	}
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, ", or ") + "?"
}

// unknown adds to the error of a name that nobody had as of when that was, and
// who may be meant.
func (a asOf) unknown(err error, w *explain.World, names ...string) error {
	if !errors.Is(err, explain.ErrNobody) {
		return err
	}
	for _, name := range names {
		if _, _, failed := w.FindPort(name); name == "" || failed == nil {
			continue
		}
		near := meant(name, w.Names())
		if i := strings.LastIndexByte(name, ':'); near == "" && i > 0 {
			near = meant(name[:i], w.Names()) // without its port
		}
		if near == "" && strings.ContainsRune(name, '=') {
			near = "; a label is asked for as label:" + name
		}
		if near == "" {
			near = "; 'taskwall audit timeline' tells when there was an app or a task"
		}
		then := "as of " + a.place()
		if a.Seq == 0 {
			then = a.place()
		}
		return fmt.Errorf("%w %s%s", err, then, near)
	}
	return err
}

// knows reports whether the subject of a timeline is there in a state, and if not,
// who may be meant.
func knows(s *scheduler.State, subject *timeline.Subject) (known bool, near string) {
	names := map[string]bool{}
	var name string
	switch {
	case subject.App != "":
		name = subject.App
		for _, e := range s.View().Endpoints {
			names[e.App] = true
		}
		for id := range s.Cluster().Apps {
			names[id] = true
		}
	case subject.Task != "":
		name = subject.Task
		for _, e := range s.View().Endpoints {
			names[e.Task], names[e.ID] = true, true
		}
		for _, t := range s.Cluster().Tasks {
			names[t.ID], names[t.Executor] = true, true
		}
	case subject.Host != "":
		name = subject.Host
		for _, h := range s.HostNames() {
			names[h] = true
		}
	case subject.Policy != "":
		name = subject.Policy
		for _, r := range s.Resources() {
			names[r.String()], names[strings.TrimPrefix(r.String(), r.Kind+" ")] = true, true
		}
	default:
		_, held := s.Holder(subject.Address)
		return held, "; 'taskwall audit who' tells who had an address before and after"
	}
	delete(names, "")
	if names[name] {
		return true, ""
	}
	return false, meant(name, slices.Sorted(maps.Keys(names)))
}
