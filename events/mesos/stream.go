package mesos

import (
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
)

// malformed is the type given to a record that could not be decoded.
const malformed = "malformed"

// record reduces one record of the stream to differences.
func (s *Source) record(w *wireEvent) {
	if w.partial {
		s.suspect("a record could be decoded only in part")
	}
	switch {
	case w.TaskAdded != nil:
		s.taskAdded(&w.TaskAdded.Task)
	case w.TaskUpdated != nil:
		s.taskUpdated(w.TaskUpdated)
	case w.FrameworkAdded != nil:
		s.putFramework(&w.FrameworkAdded.Framework)
	case w.FrameworkUpdated != nil:
		s.putFramework(&w.FrameworkUpdated.Framework)
	case w.FrameworkRemoved != nil:
		s.frameworkGone(w.FrameworkRemoved.Info.ID.Value, "removed from the master")
	case w.AgentAdded != nil:
		s.touch(w.AgentAdded.Agent.Info.ID.Value)
		s.putHost(&w.AgentAdded.Agent)
		if s.away[w.AgentAdded.Agent.Info.ID.Value] > 0 {
			// Those that came back were told of before it; of the others, which a
			// rebooted machine has lost, the master says nothing any more.
			s.suspect("an agent is back without tasks that were away with it")
		}
	case w.AgentRemoved != nil:
		s.touch(w.AgentRemoved.AgentID.Value)
		s.hostGone(w.AgentRemoved.AgentID.Value, "removed from the master")
	case w.Type == malformed:
		s.suspect("a record could not be decoded")
	default:
		s.board.Update(func(st *Status) { st.Counters.Unknown++ })
	}
}

// taskAdded takes a task as it is: a new one, or one that came back with its
// agent (CLUSTER-API 3.4).
func (s *Source) taskAdded(w *wireTask) {
	t, ok := s.reduce(w)
	if !ok {
		return
	}
	if !s.knows(t.Agent) && !events.Terminal(t.State) {
		// The master does not list it (any more). It may come back, and be told of
		// again; until then nobody could say where the task is, or whether its
		// agent is gone.
		s.suspect("a task of an unknown agent")
		return
	}
	delete(s.completed, t.Key())
	s.putTask(t)
}

// unplaced are the agents of new tasks whose address is not known: the record
// that tells of them was lost, or is yet to come. A task of an agent that nobody
// could place would stay for ever after the machine had lost the agent's id.
// Each is looked for once in a session. Those that a new master had only
// recovered come back by the thousand, and say their address next: for them
// alone it is not asked more than once a second.
func (s *Source) unplaced(recs []wireEvent) map[string]bool {
	var ids map[string]bool
	lately := s.cfg.Now().Sub(s.lookedAt) < time.Second
	for i := range recs {
		if a := recs[i].TaskAdded; a != nil {
			id := a.Task.Agent.Value
			h, known := s.mirror.Picture().Hosts[id]
			if h.Address == "" && !s.asked[id] && !(known && lately) {
				if ids == nil {
					ids = map[string]bool{}
				}
				ids[id] = true
			}
		}
		if a := recs[i].AgentAdded; a != nil {
			delete(ids, a.Agent.Info.ID.Value)
		}
	}
	for id := range ids {
		s.asked[id], s.lookedAt = true, s.cfg.Now()
	}
	return ids
}

// place puts those of the master's agents that are asked for.
func (s *Source) place(w *wireAgents, ids map[string]bool) {
	for i := range w.Agents {
		if ids[w.Agents[i].Info.ID.Value] {
			s.putHost(&w.Agents[i])
		}
	}
}

// taskUpdated folds a status update into what is known of its task: labels and
// all else that the update does not repeat is kept.
func (s *Source) taskUpdated(w *wireTaskUpdated) {
	state := w.State
	if state == "" {
		state = w.Status.State
	}
	key := events.TaskKey(w.Framework.Value, w.Status.TaskID.Value)
	t, known := s.mirror.Picture().Tasks[key]
	ended := events.Terminal(state)
	switch {
	case state == "":
		s.suspect("an update without a state")
		return
	case !known && !ended:
		s.suspect("an update of an unknown task")
		return
	case !known, events.Terminal(t.State) && !ended:
		s.board.Update(func(st *Status) { st.Counters.Stale++ })
		return
	}
	s.limits.status(&t, &w.Status, state)
	s.putTask(t)
	switch {
	case goneByOperator(&t):
		s.doomed[t.Agent] = true
	case state == "TASK_LOST":
		// Dropped, or unreachable: a framework that is not partition-aware is not
		// told which. The whole state says it.
		s.suspect("a task was lost")
	}
}

// reduce is a task as it is to be told of: what the record does not say, and
// the picture does, is kept.
func (s *Source) reduce(w *wireTask) (events.Task, bool) {
	if !s.limits.id(w.Framework.Value) || !s.limits.id(w.ID.Value) || !s.limits.id(w.Agent.Value) || isPod(w) && !s.limits.id(w.Executor.Value) || w.State == "" {
		return events.Task{}, false
	}
	var exec *executor
	pod := isPod(w)
	if pod {
		exec = s.executors[executorKey(w)]
	}
	t := s.limits.task(w, exec)
	old, had := s.mirror.Picture().Tasks[t.Key()]
	if !had || old.Agent != t.Agent || events.Terminal(old.State) && !events.Terminal(t.State) {
		return t, true // another task, even if one had its id before
	}
	if pod && exec == nil { // the executors of unreachable agents are not listed
		t.ExecutorLabels, t.Nested, t.ExecutorNetworks = old.ExecutorLabels, old.Nested, old.ExecutorNetworks
		if len(t.Networks) == 0 {
			t.Networks = old.Networks
		}
	}
	if t.Container == "" { // a master's own status names none
		t.Container = old.Container
	}
	if len(w.Statuses) == 0 {
		if t.State == old.State {
			t.Reason, t.Message, t.Healthy, t.Since = old.Reason, old.Message, old.Healthy, old.Since
		}
	}
	if t.Container == old.Container {
		t.Networks = keepAddresses(t.Networks, old.Networks)
	}
	return t, true
}

// keepAddresses gives networks without addresses those that they had.
func keepAddresses(now, before []events.Network) []events.Network {
	cloned := false
	for i, n := range now {
		if len(n.Addresses) > 0 {
			continue
		}
		j := slices.IndexFunc(before, func(b events.Network) bool { return b.Name == n.Name })
		if j < 0 || len(before[j].Addresses) == 0 {
			continue
		}
		if !cloned {
			now, cloned = slices.Clone(now), true
		}
		now[i].Addresses = before[j].Addresses
	}
	return now
}

func (s *Source) putTask(t events.Task) {
	key := t.Key()
	s.recount(key, &t)
	if !events.Terminal(t.State) {
		delete(s.ended, key)
	} else if _, was := s.ended[key]; !was {
		s.ended[key] = s.cfg.Now().Add(s.cfg.Linger)
	}
	s.mirror.PutTask(t, t.Since)
}

func (s *Source) taskGone(key, reason string) {
	delete(s.ended, key)
	s.recount(key, nil)
	s.mirror.TaskGone(key, reason, time.Time{})
}

// sweep takes out of the picture the tasks that ended a while ago.
func (s *Source) sweep(now time.Time) {
	for _, key := range events.SortedKeys(s.ended) {
		if !s.ended[key].After(now) {
			if t := s.mirror.Picture().Tasks[key]; s.news(&t, now) {
				s.completed[key] = true // a fast clock gave the time of its end
			}
			s.taskGone(key, "ended")
		}
	}
}

func (s *Source) putFramework(w *wireFramework) {
	if f := s.limits.framework(w); s.limits.id(f.ID) {
		s.mirror.PutFramework(f, time.Time{})
	}
}

// frameworkGone ends a framework and, with it, all its tasks: an agent that
// returns later with some is told to end them.
func (s *Source) frameworkGone(id, reason string) {
	for _, key := range s.tasksOf(func(t *events.Task) bool { return t.Framework == id }) {
		s.taskGone(key, "its framework was "+reason)
	}
	s.mirror.FrameworkGone(id, reason, time.Time{})
}

func (s *Source) putHost(w *wireAgent) {
	h := s.limits.host(w)
	if !s.limits.id(h.Agent) {
		return
	}
	delete(s.absent, h.Agent)
	at := time.Time{}
	if h.Reachable {
		at = h.Since
	}
	s.mirror.PutHost(h, at)
}

// hostGone ends an agent for good, and the tasks that were on it.
func (s *Source) hostGone(agent, reason string) {
	for _, key := range s.tasksOf(func(t *events.Task) bool { return t.Agent == agent }) {
		s.taskGone(key, "its agent was "+reason)
	}
	delete(s.absent, agent)
	delete(s.doomed, agent)
	s.mirror.HostGone(agent, reason, time.Time{})
}

// endDoomed ends the agents that were marked gone, once the master has said of
// each of their tasks that it is.
func (s *Source) endDoomed() {
	for _, agent := range events.SortedKeys(s.doomed) {
		if len(s.tasksOf(func(t *events.Task) bool { return t.Agent == agent && !goneByOperator(t) })) == 0 {
			s.hostGone(agent, "marked gone by an operator")
		}
	}
}

// goneByOperator reports whether a task ended because its agent was marked gone:
// to a framework that is not partition-aware it is lost.
func goneByOperator(t *events.Task) bool {
	return t.State == "TASK_GONE_BY_OPERATOR" || t.State == "TASK_LOST" && t.Reason == "REASON_AGENT_REMOVED_BY_OPERATOR"
}

// tasksOf are the keys of the tasks that have not ended and are among those
// chosen, in order.
func (s *Source) tasksOf(chosen func(*events.Task) bool) []string {
	var keys []string
	for key, t := range s.mirror.Picture().Tasks {
		if !events.Terminal(t.State) && chosen(&t) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *Source) touch(agent string) {
	if s.touched != nil {
		s.touched[agent] = true
	}
}

// suspect asks for the whole state to be compared soon.
func (s *Source) suspect(why string) {
	s.doubt = why
	s.board.Update(func(st *Status) { st.Counters.Doubts++ })
}

// recount keeps the numbers of tasks when the task called key becomes t, or nothing.
func (s *Source) recount(key string, t *events.Task) {
	if old, had := s.mirror.Picture().Tasks[key]; had {
		s.count(&old, -1)
	}
	if t != nil {
		s.count(t, 1)
	}
}

// count counts a task in, or out.
func (s *Source) count(t *events.Task, n int) {
	add := func(numbers map[string]int, key string) {
		if numbers[key] += n; numbers[key] <= 0 {
			delete(numbers, key)
		}
	}
	if t.Executor != t.ID && !events.Terminal(t.State) {
		add(s.pods, podOf(t))
	}
	if t.State == "TASK_UNREACHABLE" || t.State == "TASK_LOST" {
		add(s.away, t.Agent)
	}
}

// unknownExecutors reports whether a task was added whose executor's labels
// are not known. What is known of an executor none of whose tasks is left is
// not believed: its id may have been used again.
func (s *Source) unknownExecutors(recs []wireEvent) bool {
	for i := range recs {
		if a := recs[i].TaskAdded; a != nil && s.unknownExecutor(&a.Task) {
			return true
		}
	}
	return false
}

func (s *Source) unknownExecutor(w *wireTask) bool {
	return isPod(w) && (s.executors[executorKey(w)] == nil || s.pods[executorKey(w)] == 0)
}

// withoutExecutor reports whether a task that lives was added whose executor the
// master does not list: its labels and networks are not known.
func (s *Source) withoutExecutor(recs []wireEvent) bool {
	return slices.ContainsFunc(recs, func(r wireEvent) bool {
		a := r.TaskAdded
		return a != nil && isPod(&a.Task) && !events.Terminal(a.Task.State) && s.executors[executorKey(&a.Task)] == nil
	})
}

// isPod reports whether a task runs in an executor that its framework named:
// that of a pod, or a framework's own. A command task's is not named. The name
// says nothing by itself: a framework may give its executor the id of a task.
func isPod(w *wireTask) bool { return w.Executor != nil && w.Executor.Value != "" }

// An executor's id is its framework's choice, and unique on an agent only.
func executorKey(w *wireTask) string {
	return events.TaskKey(w.Framework.Value, w.Executor.Value) + "/" + w.Agent.Value
}

func podOf(t *events.Task) string { return t.ExecutorKey() + "/" + t.Agent }

func (s *Source) setExecutors(w *wireExecutors) {
	s.executors = make(map[string]*executor, len(w.Executors))
	for i := range w.Executors {
		x := &w.Executors[i]
		s.executors[events.TaskKey(x.Info.Framework.Value, x.Info.ID.Value)+"/"+x.Agent.Value] = s.limits.executor(x)
	}
}
