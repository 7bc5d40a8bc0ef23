package mesos

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror"
)

// story runs a test against a source that follows a running master.
func story(t *testing.T, cfg Config, tell func(m *fakeMaster, s *Source, l *log)) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		s, l := one(t, cfg, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		tell(m, s, l)
	})
}

func labelled(w wireTask, key, val string) wireTask {
	w.Labels.Labels = append(w.Labels.Labels, mirror.Label{Key: key, Value: val})
	return w
}

func TestAnUpdateKeepsWhatItDoesNotRepeat(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		w := labelled(wTask("t2", "a1", "TASK_STAGING"), "app", "web")
		w.Container = &wireContainer{Type: "MESOS", Networks: []wireNetwork{{Name: "taskwall"}}}
		m.say(added(w))
		healthy := true
		up := updated("t2", "TASK_RUNNING", 2000)
		up.TaskUpdated.Status.Healthy = &healthy
		up.TaskUpdated.Status.Container = wireContainerStatus{
			ID:       &wireContainerID{Value: "c2"},
			Networks: []wireNetwork{{Name: "taskwall", Addresses: []wireAddress{{"10.1.0.2"}}}},
		}
		m.say(up)
		killing := updated("t2", "TASK_KILLING", 2001) // as Docker says it: with the agent's address
		killing.TaskUpdated.Status.Container.Networks = []wireNetwork{{Name: "taskwall", Addresses: []wireAddress{{"10.0.0.1"}}}}
		m.say(killing)
		l.Until(t, "it is being killed", taskIs("fw/t2", "TASK_KILLING"))
		want := events.Task{
			Framework: "fw", ID: "t2", Name: "t2", Executor: "t2", Agent: "a1", State: "TASK_KILLING",
			Labels: map[string]string{"app": "web"}, Containerizer: "mesos", Container: "c2",
			Networks: []events.Network{{Name: "taskwall", Addresses: []string{"10.1.0.2"}}},
			Since:    time.Unix(2001, 0).UTC(),
		}
		if d := cmp.Diff(want, l.Folded().Tasks["fw/t2"]); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

// What a master says of itself of a task names no container.
func TestATaskThatComesBackKeepsItsContainerAndAddress(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		w := wTask("t2", "a1", "TASK_RUNNING")
		w.Container = &wireContainer{Type: "MESOS", Networks: []wireNetwork{{Name: "taskwall"}}}
		m.say(added(withStatus(w, 1500, "10.1.0.2")))
		m.say(updated("t2", "TASK_UNREACHABLE", 2000))
		w.State = "TASK_UNREACHABLE"
		w.Statuses = []wireStatus{{TaskID: w.ID, State: "TASK_UNREACHABLE", Timestamp: 2000}}
		m.say(added(w))
		w.State = "TASK_RUNNING"
		m.say(added(w))
		l.Until(t, "it is back", func(c *events.Cluster) bool {
			return c.Tasks["fw/t2"].State == "TASK_RUNNING" && c.Tasks["fw/t2"].Since.Unix() == 2000
		})
		if got := l.Folded().Tasks["fw/t2"]; got.Container != "c-t2" || len(got.Networks[0].Addresses) != 1 {
			t.Errorf("lost: %+v", got)
		}
	})
}

// An address is a container's: the next one of the same task has not got it.
func TestAnotherContainerHasNotTheAddressOfTheFormer(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		w := wTask("t2", "a1", "TASK_RUNNING")
		w.Container = &wireContainer{Type: "MESOS", Networks: []wireNetwork{{Name: "taskwall"}}}
		m.say(added(withStatus(w, 1500, "10.1.0.2")))
		next := withStatus(w, 2000, "")
		next.State, next.Statuses[0].State, next.Statuses[0].Container.ID.Value = "TASK_STARTING", "TASK_STARTING", "another"
		m.say(added(next))
		l.Until(t, "it starts again", taskIs("fw/t2", "TASK_STARTING"))
		if got := l.Folded().Tasks["fw/t2"]; got.Container != "another" || len(got.Networks[0].Addresses) > 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAReturningAgentBringsItsTasksBack(t *testing.T) {
	story(t, Config{PollAgents: 30 * time.Second}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Agents.Agents = nil })
		m.say(updated("t1", "TASK_UNREACHABLE", 2000))
		l.Until(t, "the task is unreachable", taskIs("fw/t1", "TASK_UNREACHABLE"))
		l.Until(t, "GET_AGENTS shows that its agent is, too", func(c *events.Cluster) bool { return !c.Hosts["a1"].Reachable })

		m.change(func(m *fakeMaster) { m.state.Agents.Agents = []wireAgent{wAgent("a1", "h1")} })
		m.say(added(withStatus(wTask("t1", "a1", "TASK_RUNNING"), 1000, "")))
		m.say(agentAdded(wAgent("a1", "h1")))
		l.Until(t, "both are back", func(c *events.Cluster) bool {
			return c.Tasks["fw/t1"].State == "TASK_RUNNING" && c.Hosts["a1"].Reachable
		})
	})
}

// An agent that comes back after a reboot has none of the tasks that were
// unreachable with it, and the master says nothing of them any more.
func TestTheTasksThatDoNotComeBackWithTheirAgentAreSoonGone(t *testing.T) {
	for _, state := range []string{"TASK_UNREACHABLE", "TASK_LOST"} {
		story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
			away := withStatus(wTask("t1", "a1", state), 2000, "")
			m.change(func(m *fakeMaster) {
				m.state.Tasks.Tasks, m.state.Tasks.Unreachable = nil, []wireTask{away}
				m.state.Agents.Agents = nil
			})
			m.say(updated("t1", state, 2000))
			l.Until(t, "the task is away", taskIs("fw/t1", state))
			time.Sleep(2 * time.Minute)
			if len(l.Folded().Tasks) != 1 {
				t.Fatal("it is taken for gone")
			}
			m.change(func(m *fakeMaster) {
				m.state.Tasks.Unreachable, m.state.Agents.Agents = nil, []wireAgent{wAgent("a1", "h1")}
			})
			m.say(agentAdded(wAgent("a1", "h1")))
			began := time.Now()
			l.Until(t, "it is gone", func(c *events.Cluster) bool { return len(c.Tasks) == 0 })
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: after %v", state, took)
			}
		})
	}
}

func TestAnIdleAgentThatVanishesIsNoticed(t *testing.T) {
	story(t, Config{PollAgents: 30 * time.Second}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(agentAdded(wAgent("a2", "h2")))
		l.Until(t, "the agent is known", func(c *events.Cluster) bool { return c.Hosts["a2"].Reachable })
		began := time.Now() // GET_AGENTS does not list it
		l.Until(t, "it is missed", func(c *events.Cluster) bool { return !c.Hosts["a2"].Reachable })
		if d := time.Since(began); d > 66*time.Second {
			t.Errorf("took %v", d)
		}
		if h := l.Folded().Hosts["a2"]; h.Name != "h2" || h.Address != "10.0.0.2" || h.Port != 5051 {
			t.Errorf("what else is known was lost: %+v", h)
		}
	})
}

func TestAnAgentThatLosesItsConnectionIsUnreachableUntilItIsBack(t *testing.T) {
	story(t, Config{PollAgents: 30 * time.Second}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Agents.Agents[0].Active = false })
		l.Until(t, "it is not reachable", func(c *events.Cluster) bool { return !c.Hosts["a1"].Reachable })
		m.change(func(m *fakeMaster) { m.state.Agents.Agents[0].Deactivated = true })
		l.Until(t, "an operator deactivated it", func(c *events.Cluster) bool { return c.Hosts["a1"].Reachable })
	})
}

func TestAnAgentAbsentForLongEnoughIsGone(t *testing.T) {
	story(t, Config{GoneAfter: 24 * time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Agents.Agents, m.state.Tasks.Tasks = nil, nil })
		time.Sleep(23 * time.Hour)
		if _, has := l.Folded().Hosts["a1"]; !has {
			t.Fatal("it is gone after 23 hours")
		}
		if _, has := l.Folded().Tasks["fw/t1"]; !has {
			t.Fatal("its task is gone after 23 hours")
		}
		time.Sleep(2 * time.Hour)
		if c := l.Folded(); len(c.Hosts) != 0 || len(c.Tasks) != 0 {
			t.Errorf("after 25 hours: %v, %v", c.Hosts, c.Tasks)
		}
	})
}

func TestRemovedAgents(t *testing.T) {
	story(t, Config{Linger: time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(updated("t1", "TASK_LOST", 2000))
		m.say(wireEvent{Type: "AGENT_REMOVED", AgentRemoved: &wireAgentRemoved{AgentID: value{"a1"}}})
		l.Until(t, "the agent and its task are gone", func(c *events.Cluster) bool { return len(c.Hosts) == 0 && len(c.Tasks) == 0 })
	})
}

func TestAnAgentThatIsMarkedGoneGoesAfterItsTasks(t *testing.T) {
	story(t, Config{Linger: time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(added(wTask("t2", "a1", "TASK_RUNNING")))
		up := updated("t1", "TASK_GONE_BY_OPERATOR", 2000)
		m.say(up)
		time.Sleep(time.Second)
		if _, has := l.Folded().Hosts["a1"]; !has {
			t.Error("the agent is gone before its second task")
		}
		lost := updated("t2", "TASK_GONE_BY_OPERATOR", 2000)
		m.say(lost)
		l.Until(t, "the agent is gone", func(c *events.Cluster) bool { return len(c.Hosts) == 0 })
		if c := l.Folded(); c.Tasks["fw/t2"].State != "TASK_GONE_BY_OPERATOR" {
			t.Errorf("how its tasks ended: %v", c.Tasks)
		}
	})
}

// To a framework that is not partition-aware each of them is lost.
func TestTheLostTasksOfAnAgentThatIsMarkedGone(t *testing.T) {
	story(t, Config{Linger: time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(added(wTask("t2", "a1", "TASK_RUNNING")))
		for _, id := range []string{"t1", "t2"} {
			l.Until(t, "the agent is there until its last task is lost", func(c *events.Cluster) bool { return len(c.Hosts) == 1 && len(c.Tasks) > 0 })
			lost := updated(id, "TASK_LOST", 2000)
			lost.TaskUpdated.Status.Reason = "REASON_AGENT_REMOVED_BY_OPERATOR"
			m.say(lost)
		}
		began := time.Now()
		l.Until(t, "all is gone", func(c *events.Cluster) bool { return len(c.Hosts) == 0 && len(c.Tasks) == 0 })
		if took := time.Since(began); took > time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// An agent that drops a launch says TASK_LOST, too, and stays.
func TestATaskThatWasDroppedIsSoonGone(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) {
			m.state.Tasks.Tasks = nil
			m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a1", "TASK_LOST"), 2000, "")}
		})
		m.say(updated("t1", "TASK_LOST", 2000))
		began := time.Now()
		l.Until(t, "it is gone", func(c *events.Cluster) bool { return len(c.Tasks) == 0 })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// TestAnAnswerIsNotBelievedAgainstTheStream: an agent that was added after
// GET_AGENTS was asked is not missing from its answer.
// An answer to GET_AGENTS is of some moment after it was asked for: of agents
// that the stream has spoken of since, the stream is believed.
func TestAnAnswerIsNotBelievedAgainstTheStream(t *testing.T) {
	story(t, Config{PollAgents: time.Minute}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(agentAdded(wAgent("a9", "h9")))
		l.Until(t, "an agent without tasks is known", func(c *events.Cluster) bool { return c.Hosts["a9"].Reachable })
		held := make(chan struct{})
		m.change(func(m *fakeMaster) {
			m.held = held
			m.state.Agents.Agents = append(m.state.Agents.Agents, wAgent("a9", "h9"))
		})
		time.Sleep(70 * time.Second) // it is asked, and the answer is of now
		m.say(agentAdded(wAgent("a2", "h2")))
		m.say(wireEvent{Type: "AGENT_REMOVED", AgentRemoved: &wireAgentRemoved{AgentID: value{"a9"}}})
		l.Until(t, "what the stream says is known", func(c *events.Cluster) bool { return c.Hosts["a2"].Reachable && c.Hosts["a9"].Agent == "" })
		told := len(l.Events())
		m.change(func(m *fakeMaster) { m.held = nil })
		close(held)
		synctest.Wait()
		if evs := l.Events()[told:]; m.count("GET_AGENTS") != 1 || len(evs) > 0 {
			t.Errorf("asked %d times, told %v", m.count("GET_AGENTS"), evs)
		}
		m.change(func(m *fakeMaster) { m.state.Agents.Agents = []wireAgent{wAgent("a1", "h1")} })
		l.Until(t, "a later answer is believed", func(c *events.Cluster) bool { return !c.Hosts["a2"].Reachable })
	})
}

func TestEndedTasksLeaveThePictureAfterAWhile(t *testing.T) {
	story(t, Config{Linger: time.Minute}, func(m *fakeMaster, s *Source, l *log) {
		m.say(updated("t1", "TASK_KILLED", 2000))
		l.Until(t, "it is killed", taskIs("fw/t1", "TASK_KILLED"))
		m.say(updated("t1", "TASK_RUNNING", 1000)) // late, and not believed
		time.Sleep(30 * time.Second)
		if got := l.Folded().Tasks["fw/t1"].State; got != "TASK_KILLED" {
			t.Errorf("after half a minute it is %q", got)
		}
		time.Sleep(time.Minute)
		if _, has := l.Folded().Tasks["fw/t1"]; has {
			t.Error("it is still there")
		}
		m.say(updated("t1", "TASK_KILLED", 2000)) // later still
		synctest.Wait()
		if st := s.Status(); st.Counters.Stale != 2 || st.Counters.Doubts != 0 || len(l.Folded().Tasks) != 0 {
			t.Errorf("%+v", st.Counters)
		}
	})
}

func TestAnIdThatIsUsedAgainIsANewTask(t *testing.T) {
	story(t, Config{Linger: time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(updated("t1", "TASK_KILLED", 2000))
		m.say(added(labelled(wTask("t1", "a1", "TASK_STAGING"), "new", "yes")))
		l.Until(t, "the new task is known", taskIs("fw/t1", "TASK_STAGING"))
		if got := l.Folded().Tasks["fw/t1"]; got.Container != "" || got.Labels["new"] != "yes" {
			t.Errorf("it has something of the old one: %+v", got)
		}
		time.Sleep(2 * time.Hour) // the old one's time is over
		if _, has := l.Folded().Tasks["fw/t1"]; !has {
			t.Error("the new task was swept with the old one")
		}
	})
}

// TestWhatCannotBeRightIsLookedInto: an update of a task that was never added
// means that something was missed.
func TestWhatCannotBeRightIsLookedInto(t *testing.T) {
	for name, ev := range map[string]string{
		"an update of an unknown task": `{"type":"TASK_UPDATED","task_updated":{"framework_id":{"value":"fw"},"state":"TASK_RUNNING","status":{"task_id":{"value":"t2"},"state":"TASK_RUNNING"}}}`,
		"an update without a state":    `{"type":"TASK_UPDATED","task_updated":{"framework_id":{"value":"fw"},"status":{"task_id":{"value":"t1"}}}}`,
		"a record that is broken":      `{"type":"TASK_ADDED","task_added":{"task":{`,
		"a record of other types":      `{"type":"TASK_ADDED","task_added":{"task":[]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			story(t, Config{}, func(m *fakeMaster, s *Source, l *log) {
				m.change(func(m *fakeMaster) {
					m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, wTask("t2", "a1", "TASK_RUNNING"))
				})
				began := time.Now()
				m.raw(frame(ev))
				l.Until(t, "what was missed is known", taskIs("fw/t2", "TASK_RUNNING"))
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("took %v", d)
				}
				for range 1000 {
					m.raw(frame(ev))
					time.Sleep(time.Second)
				}
				if n := s.Status().Counters.Resyncs; n > 30 {
					t.Errorf("1000 doubts in as many seconds made it subscribe %d times", n)
				}
			})
		})
	}
}

func TestUnknownRecordsAreCountedAndHarmless(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, s *Source, l *log) {
		m.raw(frame(`{"type":"QUANTUM_ENTANGLED","quantum":{"a":1}}`))
		m.raw(frame(`{"type":"TASK_UPDATED","task_updated":{"framework_id":{"value":"fw"},"state":"TASK_BEAMED","status":{"task_id":{"value":"t1"},"state":"TASK_BEAMED","reason":"REASON_NEW","timestamp":2000.5}}}`))
		l.Until(t, "the unknown state is passed on", taskIs("fw/t1", "TASK_BEAMED"))
		if st := s.Status().Counters; st.Unknown != 1 || st.Malformed != 0 || st.Doubts != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// pod is a task of a pod's executor.
func pod(id, exec, state string) wireTask {
	w := wTask(id, "a1", state)
	w.Executor = &value{exec}
	return w
}

func podExecutor(id, label string) wireExecutor {
	x := wireExecutor{Agent: value{"a1"}}
	x.Info.ID, x.Info.Framework = value{id}, value{"fw"}
	x.Info.Labels.Labels = []mirror.Label{{Key: "pod", Value: label}}
	x.Info.Container = &wireContainer{Type: "MESOS", Networks: []wireNetwork{{
		Name: "taskwall", PortMappings: []wirePortMapping{{Host: 31000, Container: 80, Protocol: "tcp"}},
	}}}
	return x
}

func TestAPodsTaskIsToldOfWithItsExecutorsPart(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "one")} })
		w := pod("p1.web", "pod1", "TASK_STAGING")
		w.Discovery.Ports.Ports = []wirePort{{Number: 31000, Name: "http", Protocol: "tcp"}}
		m.say(added(w))
		m.say(added(pod("p1.db", "pod1", "TASK_STAGING")))
		l.Until(t, "both tasks are known", taskIs("fw/p1.db", "TASK_STAGING"))
		want := events.Task{
			Framework: "fw", ID: "p1.web", Name: "p1.web", Executor: "pod1", Agent: "a1", State: "TASK_STAGING",
			ExecutorLabels: map[string]string{"pod": "one"}, Containerizer: "mesos",
			Networks: []events.Network{{Name: "taskwall"}},
			Ports:    []events.Port{{Name: "http", Number: 80, Protocol: "tcp"}},
		}
		if d := cmp.Diff(want, l.Folded().Tasks["fw/p1.web"]); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		for _, e := range l.Events() { // never without: a label might close what its lack leaves open
			if e.Kind == events.TaskPut && e.Task.Executor == "pod1" && e.Task.ExecutorLabels == nil {
				t.Errorf("told of without its executor's labels: %+v", e.Task)
			}
		}
		if n := m.count("GET_EXECUTORS"); n > 2 {
			t.Errorf("GET_EXECUTORS was called %d times", n)
		}

		asked := m.count("GET_EXECUTORS")
		m.say(added(pod("p1.log", "pod1", "TASK_STAGING")))
		l.Until(t, "a task of the same executor", taskIs("fw/p1.log", "TASK_STAGING"))
		if n := m.count("GET_EXECUTORS"); n != asked {
			t.Error("asked again for an executor that is known and alive")
		}
	})
}

// A framework may give its executors one id on all agents, or the id of a task:
// only that the task names an executor says that it has one.
func TestExecutorsAreToldApartByTheirAgents(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		there := podExecutor("pod1", "there")
		there.Agent = value{"a2"}
		m.change(func(m *fakeMaster) {
			m.state.Agents.Agents = append(m.state.Agents.Agents, wAgent("a2", "h2"))
			m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "here"), there, podExecutor("own", "named like its task")}
		})
		far := pod("p.far", "pod1", "TASK_STAGING")
		far.Agent = value{"a2"}
		m.say(added(pod("p.near", "pod1", "TASK_STAGING")))
		m.say(added(far))
		m.say(added(pod("own", "own", "TASK_STAGING")))
		l.Until(t, "all tasks are known", taskIs("fw/own", "TASK_STAGING"))
		for key, label := range map[string]string{"fw/p.near": "here", "fw/p.far": "there", "fw/own": "named like its task"} {
			if got := l.Folded().Tasks[key]; got.ExecutorLabels["pod"] != label || len(got.Networks) != 1 {
				t.Errorf("%s: %+v", key, got)
			}
		}
	})
}

// The answer to GET_EXECUTORS is tied to no place in the stream.
func TestAnExecutorThatIsNotListedIsLookedFor(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		m.say(added(pod("p1.web", "pod1", "TASK_STAGING")))
		l.Until(t, "the task is known", taskIs("fw/p1.web", "TASK_STAGING"))
		m.change(func(m *fakeMaster) {
			m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "one")}
			m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, pod("p1.web", "pod1", "TASK_STAGING"))
		})
		began := time.Now()
		l.Until(t, "its labels", func(c *events.Cluster) bool { return c.Tasks["fw/p1.web"].ExecutorLabels["pod"] == "one" })
		if took := time.Since(began); took > time.Minute {
			t.Errorf("after %v", took)
		}
	})
}

func TestAnExecutorsIdThatIsUsedAgainIsAskedForAgain(t *testing.T) {
	story(t, Config{Linger: time.Hour}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "one")} })
		m.say(added(pod("p1.web.1", "pod1", "TASK_RUNNING")))
		m.say(updated("p1.web.1", "TASK_KILLED", 2000))
		l.Until(t, "the first ended", taskIs("fw/p1.web.1", "TASK_KILLED"))
		m.change(func(m *fakeMaster) { m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "two")} })
		m.say(added(pod("p1.web.2", "pod1", "TASK_STAGING")))
		l.Until(t, "the second is known", taskIs("fw/p1.web.2", "TASK_STAGING"))
		if got := l.Folded().Tasks["fw/p1.web.2"].ExecutorLabels["pod"]; got != "two" {
			t.Errorf("its label is %q", got)
		}
	})
}

func TestAPodIsCompletedWhenGetExecutorsAnswersAgain(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) {
			m.failing["GET_EXECUTORS"] = true
			m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "one")}
			m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, pod("p1.web", "pod1", "TASK_STAGING"))
		})
		m.say(added(pod("p1.web", "pod1", "TASK_STAGING")))
		l.Until(t, "the task is known all the same", taskIs("fw/p1.web", "TASK_STAGING"))
		l.Until(t, "its labels, from a new snapshot", func(c *events.Cluster) bool {
			return c.Tasks["fw/p1.web"].ExecutorLabels["pod"] == "one"
		})
	})
}

func TestAnUnreachablePodKeepsItsExecutorsPart(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		m.change(func(m *fakeMaster) { m.state.Executors.Executors = []wireExecutor{podExecutor("pod1", "one")} })
		w := pod("p1.web", "pod1", "TASK_RUNNING")
		m.say(added(withStatus(w, 1500, "10.1.0.3")))
		l.Until(t, "it runs", taskIs("fw/p1.web", "TASK_RUNNING"))
		m.change(func(m *fakeMaster) {
			m.state.Agents.Agents, m.state.Executors.Executors, m.state.Tasks.Tasks = nil, nil, nil
			w.State = "TASK_UNREACHABLE"
			m.state.Tasks.Unreachable = []wireTask{w}
		})
		m.drop()
		l.Until(t, "it is unreachable", taskIs("fw/p1.web", "TASK_UNREACHABLE"))
		got := l.Folded().Tasks["fw/p1.web"]
		if got.ExecutorLabels["pod"] != "one" || len(got.Networks) != 1 || len(got.Networks[0].Addresses) != 1 || got.Container == "" {
			t.Errorf("lost: %+v", got)
		}
	})
}

// TestNoSecretReachesTheLog: whatever a record carries besides the fields that
// are used.
func TestNoSecretReachesTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "hunter2"
		m := running(t)
		_, l := one(t, Config{}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		m.raw(frame(`{"type":"TASK_ADDED","task_added":{"task":{"name":"t2","task_id":{"value":"t2"},"framework_id":{"value":"fw"},"agent_id":{"value":"a1"},"state":"TASK_STAGING",
			"command":{"value":"run --password ` + secret + `","environment":{"variables":[{"name":"P","value":"` + secret + `"}]}},"data":"` + secret + `",
			"container":{"type":"DOCKER","docker":{"image":"i","parameters":[{"key":"env","value":"P=` + secret + `"}]},"volumes":[{"source":{"secret":{"value":{"data":"` + secret + `"}}}}]},
			"health_check":{"command":{"value":"` + secret + `"}}}}}`))
		m.raw(frame(`{"type":"TASK_UPDATED","task_updated":{"framework_id":{"value":"fw"},"state":"TASK_RUNNING","status":{"task_id":{"value":"t2"},"state":"TASK_RUNNING","timestamp":2000,
			"data":"` + secret + `","labels":{"labels":[{"key":"` + secret + `"}]},"check_status":{"http":{"status_code":200}}}}}`))
		l.Until(t, "it runs", taskIs("fw/t2", "TASK_RUNNING"))
		if all := encode(t, l.Events()); strings.Contains(all, secret) {
			t.Errorf("the log says %s", all)
		}
		if got := l.Folded().Tasks["fw/t2"].Containerizer; got != "docker" {
			t.Errorf("containerizer %q", got)
		}
	})
}
