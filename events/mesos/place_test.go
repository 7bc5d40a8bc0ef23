package mesos

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/events"
)

// The record that tells of an agent may be lost, or come after its tasks: its
// address is asked for before a task of it is told of. Without it nobody could
// say that the machine has lost the agent's id since.
func TestATasksAgentIsPlacedBeforeTheTask(t *testing.T) {
	for name, first := range map[string]func(*fakeMaster){
		"an agent never heard of": func(*fakeMaster) {},
		"one that a new master had only recovered": func(m *fakeMaster) {
			m.state.Agents.Recovered = []wireAgentInfo{wAgent("a2", "h2").Info}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := running(t)
				first(m)
				_, l := one(t, Config{PollAgents: time.Hour}, m, nil)
				l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
				m.change(func(m *fakeMaster) {
					m.state.Agents.Agents, m.state.Agents.Recovered = append(m.state.Agents.Agents, wAgent("a2", "h2")), nil
				})
				began := time.Now()
				m.say(added(wTask("t2", "a2", "TASK_STAGING")))
				l.Until(t, "the task is told of", taskIs("fw/t2", "TASK_STAGING"))
				m.say(added(wTask("t3", "a2", "TASK_STAGING")))
				l.Until(t, "another is told of", taskIs("fw/t3", "TASK_STAGING"))
				if took := time.Since(began); took > time.Second || m.count("SUBSCRIBE") != 1 || m.count("GET_AGENTS") != 1 {
					t.Errorf("took %v, %d subscriptions, %d GET_AGENTS", took, m.count("SUBSCRIBE"), m.count("GET_AGENTS"))
				}
				evs := l.Events()
				placed := slices.IndexFunc(evs, func(e events.Event) bool {
					return e.Kind == events.HostPut && e.Host.Agent == "a2" && e.Host.Address == "10.0.0.2"
				})
				told := slices.IndexFunc(evs, func(e events.Event) bool { return e.Kind == events.TaskPut && e.Task.ID == "t2" })
				if placed < 0 || placed > told {
					t.Errorf("the agent's address is event %d, its task %d", placed, told)
				}
				// The machine loses the agent's id; nobody says so.
				m.change(func(m *fakeMaster) {
					m.state.Agents.Agents[1] = wAgent("a3", "h2")
					m.state.Tasks.Tasks = m.state.Tasks.Tasks[:1]
				})
				m.drop()
				l.Until(t, "the lost agent and its tasks are gone", func(c *events.Cluster) bool {
					return c.Hosts["a3"].Reachable && c.Hosts["a2"].Agent == "" && len(c.Tasks) == 1
				})
			})
		})
	}
}

// A task of an agent that the master does not list is nowhere: it is told of
// when the agent is there.
func TestATaskOfAnAgentThatIsNotListedWaitsForIt(t *testing.T) {
	story(t, Config{PollAgents: time.Hour}, func(m *fakeMaster, s *Source, l *log) {
		m.say(added(wTask("t2", "a2", "TASK_STAGING")))
		<-m.opened
		<-m.opened // the whole state is compared soon
		if l.Folded().Tasks["fw/t2"].ID != "" || s.Status().Counters.Doubts == 0 {
			t.Errorf("told of, or no doubt: %+v", s.Status())
		}
		m.say(agentAdded(wAgent("a2", "h2")))
		m.say(added(wTask("t2", "a2", "TASK_RUNNING")))
		l.Until(t, "the task is told of", taskIs("fw/t2", "TASK_RUNNING"))
	})
}

// An id that a new master waits for, and that nobody ever saw registered, is a
// former one of the agent that has its name and port now.
func TestAFormerIdIsNoHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		m.state.Agents.Recovered = []wireAgentInfo{wAgent("a0", "h1").Info, wAgent("b0", "h2").Info, wAgent("c0", "h3").Info}
		_, l := one(t, Config{PollAgents: 10 * time.Second}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		l.Until(t, "ids of machines without an agent are hosts", func(c *events.Cluster) bool {
			return c.Hosts["b0"].Name == "h2" && c.Hosts["c0"].Name == "h3"
		})
		m.change(func(m *fakeMaster) { m.state.Agents.Agents = append(m.state.Agents.Agents, wAgent("b1", "h2")) })
		m.say(agentAdded(wAgent("b1", "h2")))
		l.Until(t, "the former id of h2 is gone", func(c *events.Cluster) bool { return c.Hosts["b0"].Agent == "" })
		time.Sleep(time.Minute)
		c := l.Folded()
		if len(c.Hosts) != 3 || !c.Hosts["b1"].Reachable || c.Hosts["c0"].Agent == "" {
			t.Errorf("hosts %v", c.Hosts)
		}
		puts := 0
		for _, e := range l.Events() {
			if e.Kind == events.HostPut && (e.Host.Agent == "a0" || e.Host.Agent == "b0") {
				puts++
			}
		}
		if puts != 1 {
			t.Errorf("former ids were put %d times", puts)
		}
	})
}

// After a failover thousands of agents come back that the log knows by name
// only: the list of all agents is not asked for with each.
func TestReturningAgentsAreNotLookedForOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		for n := range 50 {
			m.state.Agents.Recovered = append(m.state.Agents.Recovered, wAgent(fmt.Sprint("r", n), fmt.Sprint("h", n+10)).Info)
		}
		_, l := one(t, Config{PollAgents: time.Hour}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		for n := range 50 {
			id := fmt.Sprint("r", n)
			m.say(added(wTask("t."+id, id, "TASK_RUNNING")))
			synctest.Wait()
			m.say(agentAdded(wAgent(id, fmt.Sprint("h", n+10))))
			synctest.Wait()
		}
		c := l.Folded()
		if len(c.Tasks) != 51 || !c.Hosts["r49"].Reachable || m.count("GET_AGENTS") != 1 {
			t.Errorf("%d tasks, last agent %+v, asked %d times", len(c.Tasks), c.Hosts["r49"], m.count("GET_AGENTS"))
		}
	})
}
