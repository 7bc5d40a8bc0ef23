package master

import (
	"errors"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// ErrGone refuses an agent that an operator marked gone: it must come back
// with a new id. ErrNotLeading refuses everybody: ask the leader.
var (
	ErrGone       = errors.New("agent has been marked gone")
	ErrNotLeading = errors.New("this master does not lead")
)

// Agent is the master's line to an agent. The methods are called under the
// master's lock: they queue and return.
type Agent interface {
	// RunTasks launches command tasks (no executor), or the tasks of a group
	// under one executor.
	RunTasks(framework mesos.FrameworkInfo, executor *mesos.ExecutorInfo, tasks []mesos.TaskInfo)
	KillTask(framework, task string)
	Acknowledge(framework, task string, uuid []byte)
	ShutdownFramework(framework string)
	// Shutdown ends the agent: it was marked gone or is not known any more.
	Shutdown(reason string)
}

// Registration is what an agent brings when it registers.
type Registration struct {
	// Info carries the agent's id when it was registered before.
	Info    mesos.AgentInfo
	Link    Agent
	Version string
	PID     string
	// Tasks, Executors and Frameworks are what runs there already.
	Tasks      []mesos.Task
	Executors  []mesos.ExecutorInfo
	Frameworks []mesos.FrameworkInfo
}

// Update is a status update on its way up. Latest is the task's newest state
// on the agent, which may be ahead of an unacknowledged Status.
type Update struct {
	Framework string
	Status    mesos.TaskStatus
	Latest    mesos.TaskState
}

type agent struct {
	id           string
	info         mesos.AgentInfo
	link         Agent
	version, pid string
	active       bool
	deactivated  bool
	registered   time.Time
	reregistered time.Time
	total        Amount
	tasks        map[taskKey]*task
	executors    []mesos.ExecutorInfo
	offers       map[string]*offer
	pinging      func() // stops the countdown to unreachable
}

var capabilities = []mesos.AgentInfo_Capability{
	{Type: mesos.AgentInfo_Capability_MULTI_ROLE},
	{Type: mesos.AgentInfo_Capability_HIERARCHICAL_ROLE},
	{Type: mesos.AgentInfo_Capability_RESERVATION_REFINEMENT},
	{Type: mesos.AgentInfo_Capability_RESOURCE_PROVIDER},
	{Type: mesos.AgentInfo_Capability_RESIZE_VOLUME},
	{Type: mesos.AgentInfo_Capability_AGENT_OPERATION_FEEDBACK},
	{Type: mesos.AgentInfo_Capability_AGENT_DRAINING},
	{Type: mesos.AgentInfo_Capability_TASK_RESOURCE_LIMITS},
}

// Register takes an agent in and returns its id. The order of the events is
// the master's own: the tasks of known frameworks, the agent, then frameworks
// that only this agent remembers, with their tasks (CLUSTER-API 3.4).
func (m *Master) Register(r Registration) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != Ready || !m.leads() {
		return "", ErrNotLeading
	}
	now := m.now()
	if r.Info.ID == nil {
		return m.registerNew(r, now), nil
	}
	id := r.Info.ID.Value
	if m.cfg.Quorum.isGone(id) {
		return "", ErrGone
	}
	if a := m.agents[id]; a != nil { // back within the ping window: nobody is told
		a.link, a.active = r.Link, true
		a.reregistered = now
		m.stopPinging(a)
		m.adoptTasks(a, r)
		m.allocateOn(a)
		return id, nil
	}
	_, wasUnreachable := m.cfg.Quorum.unreachableSince(id)
	m.cfg.Quorum.admit(r.Info)
	a := m.addAgent(id, r, now)
	a.reregistered = now
	var strangers []mesos.FrameworkInfo
	for _, f := range r.Frameworks {
		if m.frameworks[f.ID.Value] == nil && !m.isCompleted(f.ID.Value) {
			strangers = append(strangers, f)
		}
	}
	for i := range r.Tasks {
		if fw := m.frameworks[r.Tasks[i].FrameworkID.Value]; fw != nil {
			m.returnTask(a, fw, r.Tasks[i], wasUnreachable)
		}
	}
	m.adoptExecutors(a, r.Executors)
	model := m.agentModel(a)
	model.AllocatedResources = resourcesOf(r.allocated())
	m.emit(agentAdded(model))
	for _, f := range strangers {
		fw := m.addRecovered(f)
		for i := range r.Tasks {
			if r.Tasks[i].FrameworkID.Value == fw.id {
				m.returnTask(a, fw, r.Tasks[i], false)
			}
		}
	}
	m.allocateOn(a)
	return id, nil
}

// allocated is what the tasks and executors that an agent brings hold, by role.
func (r Registration) allocated() map[string]Amount {
	roles := map[string]string{}
	for _, f := range r.Frameworks {
		roles[f.ID.Value] = (&framework{info: f}).role()
	}
	out := map[string]Amount{}
	for _, t := range r.Tasks {
		if role := roles[t.FrameworkID.Value]; !terminal(*t.State) {
			out[role] = out[role].Plus(AmountOf(t.Resources))
		}
	}
	for _, e := range r.Executors {
		role := roles[e.FrameworkID.GetValue()]
		out[role] = out[role].Plus(AmountOf(e.Resources))
	}
	return out
}

func (m *Master) registerNew(r Registration, now time.Time) string {
	for _, old := range m.sortedAgents() { // the machine lost its work directory
		if old.pid == r.PID {
			m.removeAgent(old, "a new agent registered at the same address")
		}
	}
	id := m.id + "-S" + itoa(m.nextAgent)
	m.nextAgent++
	r.Info.ID = &mesos.AgentID{Value: id}
	m.cfg.Quorum.admit(r.Info)
	a := m.addAgent(id, r, now)
	m.emit(agentAdded(m.agentModel(a)))
	m.allocateOn(a)
	return id
}

func (m *Master) addAgent(id string, r Registration, now time.Time) *agent {
	a := &agent{
		id: id, info: r.Info, link: r.Link, version: r.Version, pid: r.PID, active: true,
		registered: now, total: AmountOf(r.Info.Resources),
		tasks: map[taskKey]*task{}, offers: map[string]*offer{},
	}
	m.agents[id] = a
	return a
}

// adoptTasks reconciles a reconnected agent: tasks that it no longer knows are
// lost.
func (m *Master) adoptTasks(a *agent, r Registration) {
	has := map[taskKey]bool{}
	for i := range r.Tasks {
		has[taskKey{r.Tasks[i].FrameworkID.Value, r.Tasks[i].TaskID.Value}] = true
	}
	for _, t := range sortedTasks(a.tasks) {
		if !has[t.key()] && !terminal(*t.State) {
			m.masterUpdate(t, m.lostState(t.fw, mesos.TASK_DROPPED), mesos.REASON_RECONCILIATION,
				"Task is unknown to the agent")
			m.removeTask(t)
		}
	}
	a.executors = nil
	m.adoptExecutors(a, r.Executors)
}

func (m *Master) adoptExecutors(a *agent, executors []mesos.ExecutorInfo) {
	a.executors = append(a.executors, executors...)
}

// Update takes a status update from an agent.
func (m *Master) Update(agentID string, u Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil || m.phase != Ready {
		return
	}
	fw := m.frameworks[u.Framework]
	if fw == nil {
		return
	}
	if t := a.tasks[taskKey{u.Framework, u.Status.TaskID.Value}]; t != nil {
		t.StatusUpdateState = u.Status.State
		t.StatusUpdateUUID = u.Status.UUID
		m.updateTask(t, u.Status, u.Latest)
	}
	fw.update(u.Status)
	if terminal(u.Latest) {
		m.allocateOn(a)
	}
}

// ExecutorExited tells that an executor that was no command task's is over.
func (m *Master) ExecutorExited(agentID, framework, executor string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agentID]
	if a == nil {
		return
	}
	a.executors = slices.DeleteFunc(a.executors, func(e mesos.ExecutorInfo) bool {
		return e.ExecutorID.Value == executor && e.FrameworkID.GetValue() == framework
	})
	if fw := m.frameworks[framework]; fw != nil {
		fw.failure(agentID, &executor, &status)
	}
	m.allocateOn(a)
}

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
		m.removeTask(t)
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
		_, known := m.cfg.Quorum.unreachableSince(agentID)
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
		m.frameworks[id].failure(a.id, nil, nil)
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
