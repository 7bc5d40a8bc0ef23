package mesos

import (
	"math"

	"github.com/taskwall/taskwall/events"
)

// A master leaves out silently what the principal may not view: frameworks,
// tasks, executors (CLUSTER-API 3.1). A change of its authorization must not
// look as if all tasks had ended. What is allocated on an agent says that there
// is more than is shown: in each whole state that a master gives it is the sum
// of the live tasks and executors there.

// amount is of CPUs and megabytes, in thousandths: Mesos counts no finer. Other
// resources are also held by operations, which are not tasks.
type amount struct{ cpus, mem int64 }

func (a *amount) add(rs []wireResource) {
	for i := range rs {
		v := rs[i].Scalar.Value
		if !(v > 0 && v < 1<<40) {
			continue
		}
		switch n := int64(math.Round(v * 1000)); rs[i].Name {
		case "cpus":
			a.cpus += n
		case "mem":
			a.mem += n
		}
	}
}

// hidden are the registered agents on which more runs than the state shows. An
// agent whose resources are not shown either cannot be told; then all is hidden
// when there is no task and no executor at all, of now or of the past.
func hidden(w *wireState) map[string]bool {
	shown := map[string]*amount{}
	for i := range w.Agents.Agents {
		shown[w.Agents.Agents[i].Info.ID.Value] = &amount{}
	}
	for _, tasks := range [][]wireTask{w.Tasks.Tasks, w.Tasks.Orphan} {
		for i := range tasks {
			if a := shown[tasks[i].Agent.Value]; a != nil && !events.Terminal(tasks[i].State) && tasks[i].State != "TASK_LOST" {
				a.add(tasks[i].Resources)
			}
		}
	}
	for i := range w.Executors.Executors {
		if a := shown[w.Executors.Executors[i].Agent.Value]; a != nil {
			a.add(w.Executors.Executors[i].Info.Resources)
		}
	}
	nothing := len(w.Tasks.Tasks)+len(w.Tasks.Orphan)+len(w.Tasks.Completed)+len(w.Tasks.Unreachable)+len(w.Executors.Executors) == 0
	var h map[string]bool
	for i := range w.Agents.Agents {
		a := &w.Agents.Agents[i]
		var all amount
		all.add(a.Allocated)
		if s := shown[a.Info.ID.Value]; len(a.Total) == 0 && nothing || all.cpus > s.cpus || all.mem > s.mem {
			if h == nil {
				h = map[string]bool{}
			}
			h[a.Info.ID.Value] = true
		}
	}
	return h
}

// sayHidden says once that the master does not show all, and once that it does.
func (s *Source) sayHidden(n int) {
	s.board.Update(func(st *Status) { st.Hidden = n })
	switch {
	case n > 0 && !s.complained:
		s.log.Error("mesos: the master does not show all that runs: known tasks are kept, others are not seen. The principal must be allowed to view all frameworks, tasks, executors and roles", "agents", n)
	case n == 0 && s.complained:
		s.log.Info("mesos: the master shows all that runs again")
	}
	s.complained = n > 0
}
