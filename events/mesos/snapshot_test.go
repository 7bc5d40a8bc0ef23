package mesos

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/events"
)

// reconnect makes a source see a master's state as a new subscription's
// snapshot, after having followed it before.
func reconnect(t *testing.T, before, after func(*fakeMaster), cfg Config, check func(t *testing.T, l *log)) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		if before != nil {
			before(m)
		}
		cfg.Linger, cfg.PollAgents = 1000*time.Hour, 1000*time.Hour
		_, l := one(t, cfg, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		m.change(after)
		m.drop()
		<-m.opened
		<-m.opened
		synctest.Wait()
		check(t, l)
	})
}

func gone(l *log, kind events.Kind, key string) (reason string, yes bool) {
	for _, e := range l.Events() {
		if e.Kind == kind && e.Gone.Key == key {
			return e.Gone.Reason, true
		}
	}
	return "", false
}

func TestASnapshotEndsOnlyWhatTheMasterWouldList(t *testing.T) {
	for name, tt := range map[string]struct {
		after    func(*fakeMaster)
		taskGone bool
		hostGone bool
		state    string // of the task, if it is not gone
		reach    bool   // of the host, if it is not gone
	}{
		"nothing changed": {
			after: func(*fakeMaster) {}, state: "TASK_RUNNING", reach: true,
		},
		"the agent is there without the task": {
			after: func(m *fakeMaster) { m.state.Tasks.Tasks = nil }, taskGone: true, reach: true,
		},
		"the principal may not view tasks any more": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = nil
				m.state.Agents.Agents[0].Allocated = wResources(0.1, 32)
			},
			state: "TASK_RUNNING", reach: true,
		},
		"it may not, and the task is known by its CPUs alone": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = nil
				m.state.Agents.Agents[0].Allocated = wResources(0.1, 0)
			},
			state: "TASK_RUNNING", reach: true,
		},
		"it may not, and the task is known by its memory alone": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = nil
				m.state.Agents.Agents[0].Allocated = wResources(0, 32)
			},
			state: "TASK_RUNNING", reach: true,
		},
		"the principal may not view the framework any more, but another": {
			after: func(m *fakeMaster) {
				other := wTask("t2", "a1", "TASK_RUNNING")
				other.Framework, other.Resources = value{"other"}, wResources(1, 64)
				m.state.Tasks.Tasks = []wireTask{other}
				m.state.Frameworks.Frameworks = []wireFramework{wFramework("other")}
				m.state.Agents.Agents[0].Allocated = wResources(1.1, 96)
			},
			state: "TASK_RUNNING", reach: true,
		},
		"the principal may not view roles, either": {
			after: func(m *fakeMaster) {
				m.state = wireState{Agents: m.state.Agents}
				m.state.Agents.Agents[0].Total = nil
			},
			state: "TASK_RUNNING", reach: true,
		},
		"a master that tells no resources, and of other tasks": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = []wireTask{wTask("t2", "a1", "TASK_RUNNING")}
				m.state.Agents.Agents[0].Total = nil
			},
			taskGone: true, reach: true,
		},
		"the agent is there with other tasks and a pod": {
			after: func(m *fakeMaster) {
				ended, lives, pod := wTask("t2", "a1", "TASK_FAILED"), wTask("t3", "a1", "TASK_RUNNING"), pod("p1", "pod1", "TASK_RUNNING")
				ended.Resources, lives.Resources, pod.Resources = wResources(3, 1024), wResources(0.1, 32), wResources(0.2, 32)
				exec := podExecutor("pod1", "one")
				exec.Info.Resources = wResources(0.1, 32)
				m.state.Tasks.Tasks = []wireTask{ended, lives, pod}
				m.state.Executors.Executors = []wireExecutor{exec}
				m.state.Agents.Agents[0].Allocated = wResources(0.1+0.2+0.1, 96)
			},
			taskGone: true, reach: true,
		},
		"a new master has only recovered the agent": {
			after: func(m *fakeMaster) {
				m.state = wireState{}
				m.state.Agents.Recovered = []wireAgentInfo{wAgent("a1", "h1").Info}
			},
			state: "TASK_RUNNING", reach: true,
		},
		"the agent is unreachable": {
			after: func(m *fakeMaster) {
				m.state.Agents.Agents = nil
				m.state.Tasks.Unreachable = []wireTask{withStatus(wTask("t1", "a1", "TASK_UNREACHABLE"), 2000, "")}
				m.state.Tasks.Tasks = nil
			},
			state: "TASK_UNREACHABLE", reach: false,
		},
		"the agent is back without the task, which is still called unreachable": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Unreachable = []wireTask{withStatus(wTask("t1", "a1", "TASK_UNREACHABLE"), 2000, "")}
				m.state.Tasks.Tasks = nil
			},
			taskGone: true, reach: true,
		},
		"a new master has forgotten the unreachable agent": {
			after: func(m *fakeMaster) { m.state = wireState{} }, state: "TASK_RUNNING", reach: false,
		},
		"the task completed": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = nil
				m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a1", "TASK_FAILED"), 2000, "")}
			},
			taskGone: true, reach: true,
		},
		"a new task has the id of a completed one": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = []wireTask{withStatus(wTask("t1", "a1", "TASK_RUNNING"), 3000, "")}
				m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a1", "TASK_FAILED"), 2000, "")}
			},
			state: "TASK_RUNNING", reach: true,
		},
		"an older run of the id is completed, the new one is with a recovered agent": {
			after: func(m *fakeMaster) {
				m.state = wireState{}
				m.state.Agents.Recovered = []wireAgentInfo{wAgent("a1", "h1").Info}
				m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a0", "TASK_FAILED"), 500, "")}
			},
			state: "TASK_RUNNING", reach: true,
		},
		"another agent is at the address": {
			after: func(m *fakeMaster) {
				a2 := wAgent("a2", "h1")
				m.state.Agents.Agents = []wireAgent{a2}
				m.state.Tasks.Unreachable = []wireTask{withStatus(wTask("t1", "a1", "TASK_UNREACHABLE"), 2000, "")}
				m.state.Tasks.Tasks = nil
			},
			taskGone: true, hostGone: true,
		},
		"another machine was given the address of an unreachable one": {
			after: func(m *fakeMaster) {
				a2 := wAgent("a2", "h1")
				a2.Info.Hostname = "h2"
				m.state.Agents.Agents = []wireAgent{a2}
				m.state.Tasks.Unreachable = []wireTask{withStatus(wTask("t1", "a1", "TASK_UNREACHABLE"), 2000, "")}
				m.state.Tasks.Tasks = nil
			},
			state: "TASK_UNREACHABLE", reach: false,
		},
		"another agent of the machine is there, on another port": {
			after: func(m *fakeMaster) {
				a2 := wAgent("a2", "h1")
				a2.Info.Port, a2.PID = 5052, "slave(1)@10.0.0.1:5052"
				m.state.Agents.Agents = []wireAgent{a2}
				m.state.Tasks.Unreachable = []wireTask{withStatus(wTask("t1", "a1", "TASK_UNREACHABLE"), 2000, "")}
				m.state.Tasks.Tasks = nil
			},
			state: "TASK_UNREACHABLE", reach: false,
		},
		"the agent has another address": {
			after: func(m *fakeMaster) {
				m.state.Agents.Agents = []wireAgent{wAgent("a1", "h7")}
				m.state.Agents.Agents[0].Info.Hostname = "h1"
			},
			state: "TASK_RUNNING", reach: true,
		},
		"another agent is at the address of one that a new master waits for": {
			after: func(m *fakeMaster) {
				m.state = wireState{}
				m.state.Agents.Agents = []wireAgent{wAgent("a2", "h1")}
				m.state.Agents.Recovered = []wireAgentInfo{wAgent("a1", "h1").Info}
			},
			taskGone: true, hostGone: true,
		},
		"an operator has marked the agent gone": {
			after: func(m *fakeMaster) {
				m.state.Agents.Agents = nil
				m.state.Tasks.Tasks = nil
				m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a1", "TASK_GONE_BY_OPERATOR"), 2000, "")}
			},
			taskGone: true, hostGone: true,
		},
		"the framework was torn down": {
			after: func(m *fakeMaster) {
				m.state.Tasks.Tasks = nil
				m.state.Frameworks.Completed = m.state.Frameworks.Frameworks
				m.state.Frameworks.Frameworks = nil
			},
			taskGone: true, reach: true,
		},
		"the framework was torn down while the agent was away": {
			after: func(m *fakeMaster) {
				m.state = wireState{}
				m.state.Frameworks.Completed = []wireFramework{wFramework("fw")}
			},
			taskGone: true, reach: false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			reconnect(t, nil, tt.after, Config{}, func(t *testing.T, l *log) {
				c := l.Folded()
				task, has := c.Tasks["fw/t1"]
				if has == tt.taskGone || task.State != tt.state {
					t.Errorf("task: %+v", task)
				}
				host, has := c.Hosts["a1"]
				if has == tt.hostGone || has && host.Reachable != tt.reach {
					t.Errorf("host: %+v", host)
				}
			})
		})
	}
}

// TestATaskThatWasHiddenGoesOnceAllIsShown: and the operator is told of both.
func TestATaskThatWasHiddenGoesOnceAllIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		s, l := one(t, Config{Resync: time.Minute}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		m.change(func(m *fakeMaster) {
			m.state.Tasks.Tasks = nil
			m.state.Agents.Agents[0].Allocated = wResources(0.1, 32)
		})
		time.Sleep(time.Hour)
		if c := l.Folded(); len(c.Tasks) != 1 || s.Status().Hidden != 1 {
			t.Errorf("tasks %v, status %+v", c.Tasks, s.Status())
		}
		m.change(func(m *fakeMaster) { m.state.Agents.Agents[0].Allocated = nil })
		l.Until(t, "it is gone", func(c *events.Cluster) bool { return len(c.Tasks) == 0 })
		if n := s.Status().Hidden; n != 0 {
			t.Errorf("%d agents hide something", n)
		}
	})
}

func TestHowATaskEndedIsRecordedBeforeItIsGone(t *testing.T) {
	reconnect(t, nil, func(m *fakeMaster) {
		m.state.Tasks.Tasks = nil
		m.state.Tasks.Completed = []wireTask{withStatus(wTask("t1", "a1", "TASK_FAILED"), 2000, "")}
	}, Config{}, func(t *testing.T, l *log) {
		var states []string
		for _, e := range l.Events() {
			switch e.Kind {
			case events.TaskPut:
				states = append(states, e.Task.State)
				if e.Task.State == "TASK_FAILED" && !e.Time.Equal(time.Unix(2000, 0)) {
					t.Errorf("it failed at %v", e.Time)
				}
			case events.TaskGone:
				states = append(states, "gone")
			}
		}
		if got := strings.Join(states, " "); got != "TASK_RUNNING TASK_FAILED gone" {
			t.Errorf("the record says %s", got)
		}
	})
}

// TestATaskThatNobodySawIsRecorded: it began and ended while the source was
// away; the master remembers completed tasks.
func TestATaskThatNobodySawIsRecorded(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // synctest's first moment
	seconds := func(d time.Duration) float64 { return float64(now.Add(d).UnixMicro()) / 1e6 }
	before := func(m *fakeMaster) {
		m.state.Tasks.Completed = []wireTask{withStatus(wTask("old", "a1", "TASK_FINISHED"), seconds(-time.Hour), "")}
	}
	after := func(m *fakeMaster) {
		m.state.Tasks.Completed = append(m.state.Tasks.Completed, withStatus(wTask("brief", "a1", "TASK_FINISHED"), seconds(time.Hour), ""))
	}
	reconnect(t, before, after, Config{}, func(t *testing.T, l *log) {
		if _, yes := gone(l, events.TaskGone, "fw/brief"); !yes {
			t.Error("the brief task is not in the log")
		}
		if _, yes := gone(l, events.TaskGone, "fw/old"); yes {
			t.Error("a task from before the log is in it")
		}
	})
	reconnect(t, before, after, Config{Since: now.Add(-2 * time.Hour)}, func(t *testing.T, l *log) {
		if _, yes := gone(l, events.TaskGone, "fw/old"); !yes {
			t.Error("a task from after the log's last moment is not in it")
		}
		n := 0
		for _, e := range l.Events() {
			if e.Kind == events.TaskGone {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d tasks are gone, want each once", n)
		}
	})
}

// A status bears its agent's clock.
func TestAnAgentsClockHidesNoTaskAndTellsNoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		_, l := one(t, Config{Resync: 10 * time.Minute}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		at := func(d time.Duration) float64 { return float64(time.Now().Add(d).UnixMicro()) / 1e6 }
		end := at(time.Hour) // by a clock that is fast
		m.change(func(m *fakeMaster) {
			m.state.Tasks.Tasks = nil
			m.state.Tasks.Completed = []wireTask{
				withStatus(wTask("t1", "a1", "TASK_FINISHED"), end, ""),
				withStatus(wTask("brief", "a1", "TASK_FINISHED"), at(9*time.Minute+30*time.Second), ""), // by one that is slow
			}
		})
		m.say(updated("t1", "TASK_FINISHED", end))
		time.Sleep(9*time.Minute + 50*time.Second)
		m.drop()
		time.Sleep(time.Hour)
		times := map[string]int{}
		for _, e := range l.Events() {
			if e.Kind == events.TaskGone {
				times[e.Gone.Key]++
			}
		}
		if times["fw/t1"] != 1 || times["fw/brief"] != 1 {
			t.Errorf("each ended once; the log says %v", times)
		}
	})
}

func TestWhatIsKnownIsNotAppendedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		_, l := one(t, Config{}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		n := len(l.Events())

		again := newLog() // another controller, which has read the first one's log
		net := newNetwork()
		net.serve(t, "m1:5050", m)
		s := start(t, Config{Masters: []string{"m1:5050"}, Encoding: JSON, Dial: net.dial}, again, l.Folded())
		for range 5 {
			<-m.opened
			m.drop()
		}
		time.Sleep(time.Hour)
		if len(l.Events()) != n || len(again.Events()) != 0 {
			t.Errorf("first: %d events, then %d; second: %v", n, len(l.Events()), again.Events())
		}
		if st := s.Status(); st.Counters.Snapshots < 5 || st.Counters.Polls == 0 {
			t.Errorf("nothing was compared: %+v", st)
		}
	})
}

func TestTheWholeStateIsComparedOnATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		s, l := one(t, Config{Resync: time.Minute}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		m.change(func(m *fakeMaster) { m.state.Tasks.Tasks = nil }) // and says nothing
		l.Until(t, "the lost event's effect is seen", func(c *events.Cluster) bool { return len(c.Tasks) == 0 })
		if st := s.Status(); st.Counters.Failures != 0 || st.Counters.Resyncs != 1 || !st.Connected {
			t.Errorf("status %+v", st)
		}
	})
}

func TestASnapshotOfManyMegabytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		for i := range 1000 {
			w := withStatus(wTask("big"+strings.Repeat("0", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), "a1", "TASK_FINISHED"), 500, "")
			w.Statuses[0].Message = strings.Repeat("m", 9000)
			m.state.Tasks.Completed = append(m.state.Tasks.Completed, w)
		}
		s, l := one(t, Config{}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		if n := s.Status().Counters.Bytes; n < 8<<20 {
			t.Errorf("only %d bytes were read", n)
		}
	})
}

// TestASnapshotReadInPartEndsNothing: one task's id is not a text.
func TestASnapshotReadInPartEndsNothing(t *testing.T) {
	for name, left := range map[string]func(*wireState){
		"nothing":                  func(w *wireState) { *w = wireState{Frameworks: w.Frameworks} },
		"the agent, without tasks": func(w *wireState) { w.Tasks.Tasks = nil },
		"the agent, no framework":  func(w *wireState) { *w = wireState{Agents: w.Agents} },
	} {
		t.Run(name, func(t *testing.T) { readInPart(t, left) })
	}
}

// readInPart is a source's life with a master whose second snapshot has what left
// leaves of the first, and something that cannot be read.
func readInPart(t *testing.T, left func(*wireState)) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(), newLog()
		m := running(t)
		m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, wTask("t2", "a1", "TASK_RUNNING"))
		whole := frame(encode(t, wireEvent{Type: "SUBSCRIBED", Subscribed: &wireSubscribed{State: &m.state}}))
		left(&m.state)
		part := encode(t, wireEvent{Type: "SUBSCRIBED", Subscribed: &wireSubscribed{State: &m.state}})
		part = frame(strings.Replace(part, `"unreachable_tasks":null`, `"unreachable_tasks":[{"task_id":{"value":7}}]`, 1))
		subs := 0
		n.serve(t, "m1:5050", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if subs++; subs == 1 {
				_, _ = io.WriteString(w, whole)
				return
			}
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		s := start(t, Config{Masters: []string{"m1:5050"}, Encoding: JSON, Dial: n.dial}, l, nil)
		time.Sleep(15 * time.Second)
		if c := l.Folded(); len(c.Tasks) != 2 || !c.Hosts["a1"].Reachable || len(c.Frameworks) != 1 {
			t.Errorf("tasks %v, hosts %v, frameworks %v", c.Tasks, c.Hosts, c.Frameworks)
		}
		if st := s.Status(); st.Counters.Malformed == 0 || st.Counters.Doubts == 0 || st.Counters.Resyncs == 0 {
			t.Errorf("it was not doubted: %+v", st)
		}
	})
}

func TestFrameworksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		m.state.Frameworks.Frameworks = append(m.state.Frameworks.Frameworks, wFramework("idle"))
		_, l := one(t, Config{Linger: time.Hour}, m, nil)
		l.Until(t, "the frameworks are known", func(c *events.Cluster) bool { return len(c.Frameworks) == 2 && len(c.Tasks) == 1 })

		away := wFramework("fw")
		away.Active, away.Connected = false, false
		m.say(wireEvent{Type: "FRAMEWORK_UPDATED", FrameworkUpdated: &wireFrameworkChange{away}})
		l.Until(t, "it is not connected", func(c *events.Cluster) bool { return !c.Frameworks["fw"].Connected })
		m.say(wireEvent{Type: "FRAMEWORK_UPDATED", FrameworkUpdated: &wireFrameworkChange{wFramework("fw")}})
		l.Until(t, "it is back", func(c *events.Cluster) bool { return c.Frameworks["fw"].Connected })

		// A new master that has yet to hear from the agents knows neither.
		m.change(func(m *fakeMaster) {
			m.state.Frameworks.Frameworks, m.state.Tasks.Tasks = nil, nil
			m.state.Agents.Recovered, m.state.Agents.Agents = []wireAgentInfo{wAgent("a1", "h1").Info}, nil
		})
		m.drop()
		<-m.opened
		<-m.opened
		synctest.Wait()
		if n := len(l.Folded().Frameworks); n != 2 {
			t.Errorf("%d frameworks while the agent is only recovered", n)
		}

		// Then the agent brings the one whose task it runs.
		m.change(func(m *fakeMaster) { m.state = running(t).state })
		m.drop()
		l.Until(t, "the idle framework is gone", func(c *events.Cluster) bool { return len(c.Frameworks) == 1 })
		if _, has := l.Folded().Tasks["fw/t1"]; !has {
			t.Error("the task is gone")
		}

		removed := wireEvent{Type: "FRAMEWORK_REMOVED", FrameworkRemoved: &wireFrameworkRemoved{Info: wFramework("fw").Info}}
		m.say(removed)
		l.Until(t, "it and its tasks are gone", func(c *events.Cluster) bool { return len(c.Frameworks) == 0 && len(c.Tasks) == 0 })
	})
}

// What an agent calls itself does not say whether it is gone.
func TestTheTasksOfAnAgentWithoutANameAreKept(t *testing.T) {
	for name, recovered := range map[string]bool{"unreachable": false, "recovered": true} {
		t.Run(name, func(t *testing.T) {
			nameless := wAgent("a1", "h1")
			nameless.Info.Hostname = ""
			reconnect(t, func(m *fakeMaster) { m.state.Agents.Agents[0] = nameless }, func(m *fakeMaster) {
				m.state = wireState{}
				if recovered {
					m.state.Agents.Recovered = []wireAgentInfo{nameless.Info}
				}
			}, Config{}, func(t *testing.T, l *log) {
				if reason, yes := gone(l, events.TaskGone, "fw/t1"); yes {
					t.Errorf("gone: %s", reason)
				}
			})
		})
	}
}
