package mesos

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Agents that share a hostname are named, as long as they do.
func TestAgentsThatShareAHostnameAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		other := wAgent("a2", "h2")
		other.Info.Hostname = "h1"
		m.state.Agents.Agents = append(m.state.Agents.Agents, other, wAgent("a3", "h3"))
		s, l := one(t, Config{PollAgents: 30 * time.Second}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		if got := s.Status().Shared; !slices.Equal(got, []string{"h1"}) {
			t.Errorf("shared %v", got)
		}
		m.change(func(m *fakeMaster) { m.state.Agents.Agents[1] = wAgent("a2", "h2") })
		time.Sleep(time.Minute)
		if got := s.Status().Shared; len(got) > 0 {
			t.Errorf("shared %v after one was renamed", got)
		}
		// A machine that lost its agent's id has one agent, whatever it was before.
		m.change(func(m *fakeMaster) { m.state.Agents.Agents[0] = wAgent("a4", "h1") })
		time.Sleep(time.Minute)
		if got := s.Status().Shared; len(got) > 0 {
			t.Errorf("shared %v after an agent was replaced", got)
		}
	})
}
