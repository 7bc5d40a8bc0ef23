package mesos

import (
	"context"

	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events"
)

// lookup is what the master is asked for because the stream tells of tasks that
// cannot be told of without it: where their agents are, what their executors are
// labelled. What concerns these tasks waits for the answer; all else goes on.
//
//	records ─▶ admit ─▶ record
//	             │ held, in order       ▲
//	             └──────────▶ looked ───┘
type lookup struct {
	held  []wireEvent     // records that wait, and what ends things meanwhile
	tasks map[string]bool // that are among them
	next  wanted          // to be asked for
	now   wanted          // asked for
	asked int             // how many of held wait for that
	done  chan found      // answers; nil: nothing is asked for
}

type wanted struct {
	agents    map[string]bool
	executors bool
}

func (w *wanted) none() bool { return len(w.agents) == 0 && !w.executors }

// found is what the master said.
type found struct {
	agents, executors       wireResponse
	agentsErr, executorsErr error
}

// admit holds the records back that have to wait, and returns the others.
func (s *session) admit(recs []wireEvent) []wireEvent {
	for id := range s.unplaced(recs) {
		if s.look.next.agents == nil {
			s.look.next.agents = map[string]bool{}
		}
		s.look.next.agents[id] = true
	}
	if s.look.next.none() && len(s.look.held) == 0 && !s.unknownExecutors(recs) {
		return recs // nearly always
	}
	var ready []wireEvent
	for _, r := range recs {
		if s.waits(&r) {
			s.look.held = append(s.look.held, r)
		} else {
			ready = append(ready, r)
		}
	}
	return ready
}

// waits reports whether a record has to wait. What ends a framework or an agent
// does as long as anything waits, or the tasks of these would come after it; no
// id of theirs is ever used again.
func (s *session) waits(w *wireEvent) bool {
	switch {
	case w.TaskAdded != nil:
		t := &w.TaskAdded.Task
		key, agent := events.TaskKey(t.Framework.Value, t.ID.Value), t.Agent.Value
		unknown := s.unknownExecutor(t)
		unplaced := (s.look.next.agents[agent] || s.look.now.agents[agent]) && s.mirror.Picture().Hosts[agent].Address == ""
		if !unknown && !unplaced && !s.look.tasks[key] {
			return false
		}
		s.look.next.executors = s.look.next.executors || unknown
		if s.look.tasks == nil {
			s.look.tasks = map[string]bool{}
		}
		s.look.tasks[key] = true
		return true
	case w.TaskUpdated != nil:
		return s.look.tasks[events.TaskKey(w.TaskUpdated.Framework.Value, w.TaskUpdated.Status.TaskID.Value)]
	case w.FrameworkRemoved != nil, w.AgentRemoved != nil:
		return len(s.look.held) > 0
	}
	return false
}

// ask asks for what is wanted, one question after the other.
func (s *session) ask(ctx context.Context) {
	if s.look.done != nil || s.look.next.none() {
		return
	}
	want, done := s.look.next, make(chan found, 1)
	s.look.now, s.look.next = want, wanted{}
	s.look.asked, s.look.done = len(s.look.held), done
	s.wg.Go(func() {
		var f found
		if len(want.agents) > 0 {
			f.agents, f.agentsErr = s.client.get(ctx, s.leader, master.Call_GET_AGENTS)
		}
		if want.executors {
			f.executors, f.executorsErr = s.client.get(ctx, s.leader, master.Call_GET_EXECUTORS)
		}
		done <- f
	})
}

// looked takes in an answer, and what waited for it.
func (s *session) looked(ctx context.Context, f found) error {
	want, recs, rest := s.look.now, s.look.held[:s.look.asked], s.look.held[s.look.asked:]
	s.look = lookup{next: wanted{agents: s.look.next.agents}} // for executors it is asked again if need be
	if len(want.agents) > 0 {
		s.answered(f.agentsErr)
		if f.agents.GetAgents != nil {
			s.place(f.agents.GetAgents, want.agents)
		}
	}
	if want.executors {
		s.answered(f.executorsErr)
		if f.executors.GetExecutors != nil {
			s.setExecutors(f.executors.GetExecutors)
		}
		switch {
		case f.executorsErr != nil || f.executors.GetExecutors == nil:
			s.suspect("GET_EXECUTORS failed")
		case s.withoutExecutor(recs):
			s.suspect("GET_EXECUTORS does not list the executor of a new task")
		}
	}
	for i := range recs {
		s.record(&recs[i])
	}
	return s.take(ctx, rest)
}
