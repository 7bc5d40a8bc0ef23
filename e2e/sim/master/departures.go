package master

import (
	"maps"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Disconnect says that the connection to an agent broke. Subscribers hear
// nothing; when the agent is not back within the ping timeout it becomes
// unreachable.
func (m *Master) Disconnect(agentID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil || !a.active {
		return
	}
	a.active = false
	m.rescindAll(a.offers)
	fired, stop := m.cfg.Clock.After(m.cfg.PingTimeout)
	stopped := make(chan struct{})
	a.pinging = func() { stop(); close(stopped) }
	m.work.Go(func() {
		select {
		case <-fired:
			m.MarkUnreachable(agentID)
		case <-stopped:
		case <-m.stop:
			stop()
		}
	})
}

func (m *Master) stopPinging(a *agent) {
	if a.pinging != nil {
		a.pinging()
		a.pinging = nil
	}
}

// MarkUnreachable gives an agent up: its tasks become TASK_UNREACHABLE and it
// leaves the list of agents, of which nobody is told (CLUSTER-API 3.4).
func (m *Master) MarkUnreachable(agentID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil || m.phase != Ready {
		return
	}
	since := timeInfo(m.now())
	m.cfg.Quorum.expel(agentID, since, false)
	m.rescindAll(a.offers)
	for _, t := range sortedTasks(a.tasks) {
		if terminal(*t.State) {
			m.removeTask(t)
			continue
		}
		status := m.newStatus(t, m.lostState(t.fw, mesos.TASK_UNREACHABLE), mesos.REASON_AGENT_REMOVED, "health check timed out")
		status.UnreachableTime = since
		m.updateTask(t, status, *status.State)
		t.fw.update(status)
		m.fileTask(t, true)
	}
	m.dropAgent(a)
}

// Unregister removes an agent that ends in good order.
func (m *Master) Unregister(agentID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.agents[agentID]; a != nil {
		m.removeAgent(a, "the agent unregistered")
	}
}

func (m *Master) removeAgent(a *agent, why string) {
	m.cfg.Quorum.expel(a.id, nil, false)
	for _, t := range sortedTasks(a.tasks) {
		if !terminal(*t.State) {
			m.masterUpdate(t, mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED,
				"Agent "+a.info.Hostname+" removed: "+why)
		}
		m.removeTask(t)
	}
	m.rescindAll(a.offers)
	m.dropAgent(a)
	m.emit(agentRemoved(a.id))
}

// MarkGone is an operator's word that an agent will never return.
func (m *Master) MarkGone(agentID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil {
		known := m.cfg.Quorum.isUnreachable(agentID)
		if known {
			m.cfg.Quorum.expel(agentID, nil, true)
		}
		return known
	}
	m.cfg.Quorum.expel(agentID, nil, true)
	m.rescindAll(a.offers)
	for _, t := range sortedTasks(a.tasks) {
		if !terminal(*t.State) {
			m.masterUpdate(t, m.lostState(t.fw, mesos.TASK_GONE_BY_OPERATOR),
				mesos.REASON_AGENT_REMOVED_BY_OPERATOR, "Agent has been marked gone")
		}
		m.removeTask(t)
	}
	m.dropAgent(a)
	a.link.Shutdown("Agent has been marked gone")
	return true
}

// dropAgent forgets an agent and tells the frameworks.
func (m *Master) dropAgent(a *agent) {
	m.stopPinging(a)
	delete(m.agents, a.id)
	for _, id := range m.order {
		f := m.frameworks[id]
		delete(f.refused, a.id)
		f.failure(a.id, nil, nil)
	}
}

// SetDeactivated stops or resumes offers of an agent; nothing on the stream.
func (m *Master) SetDeactivated(agentID string, on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil {
		return false
	}
	a.deactivated = on
	if on {
		m.rescindAll(a.offers)
	} else {
		m.allocateOn(a)
	}
	return true
}

func (m *Master) sortedAgents() []*agent {
	list := slices.Collect(maps.Values(m.agents))
	slices.SortFunc(list, func(a, b *agent) int {
		return a.registered.Compare(b.registered)*2 + compareLen(a.id, b.id)
	})
	return list
}

// compareLen orders x-S9 before x-S10.
func compareLen(a, b string) int {
	switch {
	case len(a) != len(b) && len(a) < len(b), len(a) == len(b) && a < b:
		return -1
	case a == b:
		return 0
	}
	return 1
}
