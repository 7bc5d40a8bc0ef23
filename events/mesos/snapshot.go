package mesos

import (
	"time"

	"github.com/taskwall/taskwall/events"
)

// snapshot compares the master's whole state with the picture. What the master
// does not list is gone only where the master would list it if it were not: a
// master that has just started knows an agent's tasks only once the agent has
// registered again (CLUSTER-API 3.3, 3.4), and it shows only what the principal
// may view. And nothing is gone because of a
// snapshot that could be decoded only in part.
func (s *Source) snapshot(w *wireState, partial bool) {
	known := s.heard
	s.setExecutors(&w.Executors)
	s.agents(&w.Agents, nil, partial)
	for i := range w.Frameworks.Frameworks {
		s.putFramework(&w.Frameworks.Frameworks[i])
	}
	listed := map[string]bool{}
	for _, tasks := range [][]wireTask{w.Tasks.Tasks, w.Tasks.Orphan, w.Tasks.Pending} {
		for i := range tasks {
			s.listTask(&tasks[i], listed, known)
		}
	}
	registered := map[string]bool{}
	for i := range w.Agents.Agents {
		registered[w.Agents.Agents[i].Info.ID.Value] = true
	}
	for i := range w.Tasks.Unreachable {
		// One whose agent nobody knows can be nowhere: the agent was replaced
		// or marked gone. Nor can one whose agent is back without it.
		t := &w.Tasks.Unreachable[i]
		if s.knows(t.Agent.Value) && !registered[t.Agent.Value] {
			s.listTask(t, listed, known)
		}
	}
	completed := s.completedTasks(w.Tasks.Completed, listed)
	if partial {
		s.suspect("the snapshot could be decoded only in part")
		return
	}
	unseen := hidden(w)
	s.sayHidden(len(unseen))
	s.unlisted(w, listed, registered, unseen, completed)
	s.tellCompleted(completed, known)
	s.unlistedFrameworks(w)
	s.endDoomed()
}

// listTask puts a task that the master lists as not completed. One that ended
// without our having known it matters only if it ended since the log was
// last complete.
func (s *Source) listTask(w *wireTask, listed map[string]bool, known time.Time) {
	t, ok := s.reduce(w)
	if !ok {
		return
	}
	key := t.Key()
	if _, had := s.mirror.Picture().Tasks[key]; !had && events.Terminal(t.State) && !s.news(&t, known) {
		return
	}
	listed[key] = true
	s.putTask(t)
}

// completedTasks are the master's ended tasks, by key: of several that had one
// id, the last.
func (s *Source) completedTasks(ws []wireTask, listed map[string]bool) map[string]events.Task {
	completed := make(map[string]events.Task, len(ws))
	for i := range ws {
		t, ok := s.reduce(&ws[i])
		if !ok || listed[t.Key()] {
			continue
		}
		if other, had := completed[t.Key()]; !had || other.Since.Before(t.Since) {
			completed[t.Key()] = t
		}
	}
	return completed
}

// unlisted ends the tasks that the picture has and the master does not.
func (s *Source) unlisted(w *wireState, listed, registered, unseen map[string]bool, completed map[string]events.Task) {
	recovered := map[string]bool{}
	for i := range w.Agents.Recovered {
		recovered[w.Agents.Recovered[i].ID.Value] = true
	}
	for _, key := range events.SortedKeys(s.mirror.Picture().Tasks) {
		if listed[key] {
			continue
		}
		t := s.mirror.Picture().Tasks[key]
		last, isCompleted := completed[key]
		switch {
		case isCompleted && !last.Since.Before(t.Since):
			if !events.Terminal(t.State) {
				s.putTask(last) // how it ended is part of the record
			}
			s.completed[key] = true
			s.taskGone(key, "completed")
			if goneByOperator(&last) && !registered[t.Agent] && !recovered[t.Agent] {
				s.doomed[t.Agent] = true
			}
		case events.Terminal(t.State):
			s.taskGone(key, "ended")
		case unseen[t.Agent]:
			// it may be among what the master does not show
		case registered[t.Agent]:
			s.taskGone(key, "its agent no longer has it")
		case s.knows(t.Agent):
			// recovered or unreachable: it may go on running, and be brought back,
			// until the agent is known to be gone
		default:
			s.taskGone(key, "its agent is gone")
		}
	}
}

// tellCompleted tells of the tasks that began and ended while nobody listened,
// and remembers which need not be told of again.
func (s *Source) tellCompleted(completed map[string]events.Task, known time.Time) {
	told := make(map[string]bool, len(completed))
	for _, key := range events.SortedKeys(completed) {
		t := completed[key]
		if !s.completed[key] && s.news(&t, known) {
			s.putTask(t)
			s.taskGone(key, "completed")
		}
		told[key] = true
	}
	s.completed = told
}

// skew is by how much an agent's clock, which a status bears, may be behind ours.
const skew = time.Minute

// news reports whether a task ended after the log was last complete. What ended
// less than Linger before, and was told of, is still in the picture.
func (s *Source) news(t *events.Task, known time.Time) bool {
	return !known.IsZero() && t.Since.After(known.Add(-min(skew, s.cfg.Linger)))
}

// unlistedFrameworks ends the frameworks that the picture has and the master
// does not. A new master learns of a framework from itself or from an agent
// that runs its tasks: until all have registered again it may know less.
func (s *Source) unlistedFrameworks(w *wireState) {
	listed, completed := map[string]bool{}, map[string]bool{}
	for i := range w.Frameworks.Frameworks {
		listed[w.Frameworks.Frameworks[i].Info.ID.Value] = true
	}
	for i := range w.Frameworks.Completed {
		completed[w.Frameworks.Completed[i].Info.ID.Value] = true
	}
	busy := map[string]bool{}
	for _, t := range s.mirror.Picture().Tasks {
		busy[t.Framework] = busy[t.Framework] || !events.Terminal(t.State)
	}
	for _, id := range events.SortedKeys(s.mirror.Picture().Frameworks) {
		switch {
		case listed[id]:
		case completed[id]:
			s.frameworkGone(id, "removed from the master")
		case len(w.Agents.Recovered) == 0 && !busy[id]:
			s.frameworkGone(id, "no longer known to the master")
		}
	}
}

// agents compares the master's agents with the picture's hosts, except those
// in skip, of which the stream has spoken more recently.
func (s *Source) agents(w *wireAgents, skip map[string]bool, partial bool) {
	here, registered := map[string]bool{}, map[string]bool{}
	at := map[place]string{}    // where an agent is registered
	named := map[place]string{} // the same, but for the address
	for i := range w.Agents {
		a := &w.Agents[i]
		here[a.Info.ID.Value], registered[a.Info.ID.Value] = true, true
		if !skip[a.Info.ID.Value] {
			s.putHost(a)
		}
		if h, ok := s.mirror.Picture().Hosts[a.Info.ID.Value]; ok && h.Address != "" {
			at[placeOf(h)] = h.Agent
			named[nameOf(h)] = h.Agent
		}
	}
	for i := range w.Recovered {
		id := w.Recovered[i].ID.Value
		here[id] = true
		delete(s.absent, id)
		// A new master has yet to hear of it. What is known of it stands. One that
		// is not known, and whose machine has an agent, is a former id of that.
		if _, had := s.mirror.Picture().Hosts[id]; !had && !skip[id] && s.limits.id(id) {
			if h := s.limits.hostInfo(&w.Recovered[i]); named[nameOf(h)] == "" {
				s.mirror.PutHost(h, time.Time{})
			}
		}
	}
	if partial {
		return
	}
	s.sayShared(w.Agents)
	for _, id := range events.SortedKeys(s.mirror.Picture().Hosts) {
		h := s.mirror.Picture().Hosts[id]
		switch other := at[placeOf(h)]; {
		case skip[id] || other == id:
		case other != "":
			// A machine that lost its agent's work directory: the id that it
			// had is nobody's any more, even if a new master waits for it.
			s.hostGone(id, "replaced by "+other+" at its address")
		case h.Address == "" && !registered[id] && named[nameOf(h)] != "" && !s.busy(id):
			// It was never seen registered, and nothing of it is known but its name.
			s.hostGone(id, "replaced by "+named[nameOf(h)]+" of its name")
		case !here[id]:
			s.absentHost(h)
		}
	}
}

// place is where there can be one agent only: a machine's address. Another machine
// that was given the address has another name, and the first may still run.
type place struct {
	name, address string
	port          int
}

func placeOf(h events.Host) place { return place{h.Name, h.Address, h.Port} }

func nameOf(h events.Host) place { return place{name: h.Name, port: h.Port} }

// knows reports whether an agent is in the picture, and so not known to be gone.
func (s *Source) knows(agent string) bool {
	_, known := s.mirror.Picture().Hosts[agent]
	return known
}

// busy reports whether an agent has tasks that have not ended.
func (s *Source) busy(agent string) bool {
	return len(s.tasksOf(func(t *events.Task) bool { return t.Agent == agent })) > 0
}

// absentHost deals with an agent that the master does not list. It is
// unreachable, and may come back with all its tasks, unless something says
// that it never will.
func (s *Source) absentHost(h events.Host) {
	now := s.cfg.Now()
	since, was := s.absent[h.Agent]
	if !was {
		since = now
		s.absent[h.Agent] = now
	}
	switch {
	case s.doomed[h.Agent]:
		s.hostGone(h.Agent, "marked gone by an operator")
	case now.Sub(since) >= s.cfg.GoneAfter:
		s.hostGone(h.Agent, "absent for "+s.cfg.GoneAfter.String())
	case h.Reachable:
		h.Reachable = false
		s.mirror.PutHost(h, time.Time{})
	}
}
