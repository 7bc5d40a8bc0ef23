package mesos

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/events"
)

// asking has a source follow a master that answers no call until it is told to.
func asking(t *testing.T, tell func(m *fakeMaster, s *Source, l *log, answer func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		s, l := one(t, Config{PollAgents: time.Hour}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		held := make(chan struct{})
		m.change(func(m *fakeMaster) {
			m.held = held
			m.state.Agents.Agents = append(m.state.Agents.Agents, wAgent("a2", "h2"))
			m.state.Executors.Executors = append(m.state.Executors.Executors, podExecutor("pod1", "p"))
		})
		tell(m, s, l, func() {
			m.change(func(m *fakeMaster) { m.held = nil })
			close(held)
		})
	})
}

// No task waits because another's agent, or executor, has to be asked for; what
// concerns that one waits, and comes in order.
func TestOtherTasksDoNotWaitForTheMastersAnswers(t *testing.T) {
	for name, odd := range map[string]wireTask{
		"an agent":    wTask("t2", "a2", "TASK_STAGING"),
		"an executor": pod("t2", "pod1", "TASK_STAGING"),
	} {
		t.Run(name, func(t *testing.T) {
			asking(t, func(m *fakeMaster, s *Source, l *log, answer func()) {
				m.say(added(odd))
				synctest.Wait() // it is asked for
				began := time.Now()
				m.say(updated("t1", "TASK_KILLING", 2000))
				m.say(updated("t2", "TASK_STARTING", 2001))
				m.say(added(wTask("t3", "a1", "TASK_STAGING")))
				m.say(updated("t2", "TASK_RUNNING", 2002))
				m.say(updated("t1", "TASK_KILLED", 2003))
				l.Until(t, "the others are told of", func(c *events.Cluster) bool {
					return c.Tasks["fw/t1"].State == "TASK_KILLED" && c.Tasks["fw/t3"].State == "TASK_STAGING"
				})
				if took := time.Since(began); took > time.Second {
					t.Errorf("they waited for %v", took)
				}
				if c := l.Folded(); c.Tasks["fw/t2"].ID != "" {
					t.Errorf("told of before the answer: %+v", c.Tasks["fw/t2"])
				}
				answer()
				l.Until(t, "it is told of", taskIs("fw/t2", "TASK_RUNNING"))
				if st := s.Status(); st.Counters.Doubts != 0 || m.count("SUBSCRIBE") != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// What ends a framework, or an agent, ends those of its tasks that wait, too.
func TestWhatEndsMeanwhileEndsTheTasksThatWait(t *testing.T) {
	for name, end := range map[string]wireEvent{
		"the framework": {Type: "FRAMEWORK_REMOVED", FrameworkRemoved: &wireFrameworkRemoved{Info: wireFrameworkInfo{ID: value{"fw"}}}},
		"the agent":     {Type: "AGENT_REMOVED", AgentRemoved: &wireAgentRemoved{AgentID: value{"a2"}}},
		"the task":      updated("t2", "TASK_FAILED", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			asking(t, func(m *fakeMaster, _ *Source, l *log, answer func()) {
				m.say(added(wTask("t2", "a2", "TASK_STAGING")))
				synctest.Wait()
				m.say(end)
				synctest.Wait()
				answer()
				l.Until(t, "it was told of", func(*events.Cluster) bool {
					for _, e := range l.Taken {
						if e.Kind == events.TaskPut && e.Task.ID == "t2" {
							return true
						}
					}
					return false
				})
				l.Until(t, "it has ended", func(c *events.Cluster) bool {
					got, there := c.Tasks["fw/t2"]
					return !there || events.Terminal(got.State)
				})
				synctest.Wait()
				if got, there := l.Folded().Tasks["fw/t2"]; there && !events.Terminal(got.State) {
					t.Errorf("it is %+v", got)
				}
			})
		})
	}
}

// What comes while an answer is waited for is asked for after it; and what waits
// is in the whole state when the stream ends.
func TestLookupsFollowOnEachOther(t *testing.T) {
	asking(t, func(m *fakeMaster, _ *Source, l *log, answer func()) {
		m.say(added(wTask("t2", "a2", "TASK_STAGING")))
		synctest.Wait()
		m.change(func(m *fakeMaster) { m.state.Agents.Agents = append(m.state.Agents.Agents, wAgent("a3", "h3")) })
		m.say(added(wTask("t3", "a3", "TASK_STAGING")))
		m.say(added(pod("t4", "pod1", "TASK_STAGING")))
		synctest.Wait()
		answer()
		l.Until(t, "all are told of", func(c *events.Cluster) bool {
			return c.Tasks["fw/t2"].ID != "" && c.Tasks["fw/t3"].ID != "" && c.Tasks["fw/t4"].ID != "" && c.Hosts["a3"].Address != ""
		})
		if a, x := m.count("GET_AGENTS"), m.count("GET_EXECUTORS"); a != 2 || x != 1 {
			t.Errorf("asked for agents %d times, for executors %d times", a, x)
		}
	})
	asking(t, func(m *fakeMaster, _ *Source, l *log, answer func()) {
		m.say(added(wTask("t2", "a2", "TASK_STAGING")))
		synctest.Wait()
		m.change(func(m *fakeMaster) {
			m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, wTask("t2", "a2", "TASK_RUNNING"))
		})
		m.drop()
		answer()
		l.Until(t, "it is told of", taskIs("fw/t2", "TASK_RUNNING"))
	})
}
