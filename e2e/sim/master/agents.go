package master

import (
	"errors"
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
	// RunTasks launches command tasks (no executor).
	RunTasks(framework mesos.FrameworkInfo, tasks []mesos.TaskInfo)
	// RunGroup launches the tasks of a group under an executor. launch says
	// whether the master takes the executor to be there already (false) or not:
	// where the agent knows better, it drops the tasks ([A] src/slave/slave.cpp
	// __run). So an agent never has two executors of one id.
	RunGroup(framework mesos.FrameworkInfo, executor mesos.ExecutorInfo, launch bool, tasks []mesos.TaskInfo)
	// Reconcile asks about a task that the agent did not name when it
	// registered: it drops it, unless the launch has reached it since.
	Reconcile(framework mesos.FrameworkInfo, task mesos.Task)
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
		m.shutCompleted(a, r)
		m.allocateOn(a)
		return id, nil
	}
	wasUnreachable := m.cfg.Quorum.isUnreachable(id)
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
	// What was unreachable and has not come back is forgotten, and nobody is told
	// ([A] src/master/master.cpp, __reregisterSlave).
	for _, f := range m.frameworks {
		f.unreachable = slices.DeleteFunc(f.unreachable, func(o *task) bool { return o.AgentID.Value == id })
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
	m.shutCompleted(a, r)
	m.allocateOn(a)
	return id, nil
}

// shutCompleted ends what an agent brings of frameworks that were removed while
// it was away.
func (m *Master) shutCompleted(a *agent, r Registration) {
	for _, f := range r.Frameworks {
		if m.isCompleted(f.ID.Value) {
			a.link.ShutdownFramework(f.ID.Value)
		}
	}
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

// adoptTasks reconciles a reconnected agent: it is asked about tasks that it did
// not name.
func (m *Master) adoptTasks(a *agent, r Registration) {
	has := map[taskKey]bool{}
	for i := range r.Tasks {
		has[taskKey{r.Tasks[i].FrameworkID.Value, r.Tasks[i].TaskID.Value}] = true
	}
	for _, t := range sortedTasks(a.tasks) {
		if !has[t.key()] && !terminal(*t.State) {
			a.link.Reconcile(t.fw.info, t.Task)
		}
	}
	a.executors = nil
	m.adoptExecutors(a, r.Executors)
}

func (m *Master) adoptExecutors(a *agent, executors []mesos.ExecutorInfo) {
	a.executors = append(a.executors, executors...)
}

func (a *agent) hasExecutor(framework, executor string) bool {
	return slices.ContainsFunc(a.executors, func(e mesos.ExecutorInfo) bool {
		return e.ExecutorID.Value == executor && e.FrameworkID.GetValue() == framework
	})
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
