package master

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// ErrRemoved refuses a framework id that was torn down or failed over too late.
// ErrUnknownFramework and ErrNotSubscribed refuse calls.
var (
	ErrRemoved          = errors.New("framework has been removed")
	ErrUnknownFramework = errors.New("framework cannot be found")
	ErrNotSubscribed    = errors.New("framework is not subscribed")
)

// Sink takes a framework's events in order. It queues them and returns.
type Sink func(*scheduler.Event)

type framework struct {
	id           string
	info         mesos.FrameworkInfo
	active       bool
	connected    bool
	recovered    bool
	registered   time.Time
	reregistered time.Time
	unregistered time.Time

	sink    Sink
	stream  string // Mesos-Stream-Id, over HTTP
	session int    // counts subscriptions, to tell an old connection's end
	tasks   map[taskKey]*task
	unreachable,
	completed []*task
	offers     map[string]*offer
	suppressed bool
	refused    map[string]time.Time // by agent id, until when
}

func (f *framework) role() string {
	if len(f.info.Roles) > 0 {
		return f.info.Roles[0]
	}
	if f.info.Role != nil {
		return *f.info.Role
	}
	return "*"
}

func (f *framework) send(e *scheduler.Event) {
	if f.connected && f.sink != nil {
		f.sink(e)
	}
}

func (f *framework) update(s mesos.TaskStatus) {
	f.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: s}})
}

func (f *framework) failure(agentID string, executor *string, status *int) {
	e := &scheduler.Event_Failure{AgentID: &mesos.AgentID{Value: agentID}}
	if executor != nil {
		e.ExecutorID = &mesos.ExecutorID{Value: *executor}
	}
	if status != nil {
		e.Status = ptr(int32(*status))
	}
	f.send(&scheduler.Event{Type: scheduler.Event_FAILURE, Failure: e})
}

// Subscribe connects a framework; without an id it is a new one. The session
// is for Disconnected. An older connection of the same id gets an ERROR.
func (m *Master) Subscribe(info mesos.FrameworkInfo, suppressed []string, sink Sink) (id string, session int, err error) {
	return m.subscribeStream(info, suppressed, "", sink)
}

func (m *Master) subscribeStream(info mesos.FrameworkInfo, suppressed []string, stream string, sink Sink) (id string, session int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != Ready || !m.leads() {
		return "", 0, ErrNotLeading
	}
	now := m.now()
	if info.ID == nil || info.ID.Value == "" {
		id := fmt.Sprintf("%s-%04d", m.id, m.nextFw)
		m.nextFw++
		info.ID = &mesos.FrameworkID{Value: id}
		f := m.newFramework(info)
		f.registered, f.reregistered = now, now
		m.connect(f, sink, stream, suppressed)
		m.emit(frameworkAdded(f))
		m.allocate()
		return id, f.session, nil
	}
	id = info.ID.Value
	if m.isCompleted(id) {
		return "", 0, ErrRemoved
	}
	f := m.frameworks[id]
	if f == nil { // known to no agent: the id comes from an earlier master
		f = m.newFramework(info)
		f.registered, f.reregistered = now, now
		m.connect(f, sink, stream, suppressed)
		m.emit(frameworkAdded(f))
		m.allocate()
		return id, f.session, nil
	}
	if f.connected {
		f.send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: "Framework failed over"}})
	}
	if f.recovered {
		f.registered = now
	}
	f.reregistered = now
	f.info = info
	f.recovered = false
	m.rescindAll(f.offers)
	m.connect(f, sink, stream, suppressed)
	m.emit(frameworkUpdated(f))
	m.allocate()
	return id, f.session, nil
}

func (m *Master) newFramework(info mesos.FrameworkInfo) *framework {
	f := &framework{
		id: info.ID.Value, info: info,
		tasks: map[taskKey]*task{}, offers: map[string]*offer{}, refused: map[string]time.Time{},
	}
	m.frameworks[f.id] = f
	m.order = append(m.order, f.id)
	return f
}

func (m *Master) addRecovered(info mesos.FrameworkInfo) *framework {
	f := m.newFramework(info)
	f.recovered = true
	m.emit(frameworkAdded(f))
	return f
}

func (m *Master) connect(f *framework, sink Sink, stream string, suppressed []string) {
	f.sink, f.stream, f.connected, f.active = sink, stream, true, true
	f.suppressed = len(suppressed) > 0
	f.refused = map[string]time.Time{}
	f.session++
	f.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID: f.info.ID, HeartbeatIntervalSeconds: ptr(m.cfg.Heartbeat.Seconds()), MasterInfo: m.info(),
	}})
	f.send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
}

// Disconnected says that a framework's connection broke. It has its failover
// timeout to come back; with none, it is torn down at once.
func (m *Master) Disconnected(id string, session int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[id]
	if f == nil || f.session != session || m.phase != Ready {
		return
	}
	f.connected, f.active, f.sink = false, false, nil
	m.rescindAll(f.offers)
	timeout := time.Duration(f.info.GetFailoverTimeout() * float64(time.Second))
	if timeout == 0 {
		m.removeFramework(f)
		return
	}
	fired, stop := m.cfg.Clock.After(timeout)
	m.work.Go(func() {
		defer stop()
		select {
		case <-fired:
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.frameworks[id] == f && f.session == session && m.phase == Ready {
				m.removeFramework(f)
			}
		case <-m.stop:
		}
	})
}

// speaks reports whether a subscription is its framework's.
func (m *Master) speaks(id string, session int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[id]
	return f != nil && f.connected && f.session == session
}

// Teardown ends a framework and all its tasks.
func (m *Master) Teardown(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[id]
	if f == nil {
		return ErrUnknownFramework
	}
	m.removeFramework(f)
	return nil
}

// removeFramework says nothing to it, and leaves its stream open and silent: a
// master of 1.12 sent neither an event nor heartbeats after TEARDOWN, for more than
// a minute (recordings, 4-scheduler). It hears when it subscribes again.
func (m *Master) removeFramework(f *framework) {
	f.connected, f.active, f.sink = false, false, nil
	f.unregistered = m.now()
	for _, a := range m.sortedAgents() {
		a.link.ShutdownFramework(f.id)
		a.executors = slices.DeleteFunc(a.executors, func(e mesos.ExecutorInfo) bool {
			return e.FrameworkID.GetValue() == f.id
		})
	}
	for _, t := range sortedTasks(f.tasks) {
		if !terminal(*t.State) {
			m.masterUpdate(t, mesos.TASK_KILLED, mesos.REASON_FRAMEWORK_REMOVED, "Framework "+f.id+" removed")
		}
		m.removeTask(t)
	}
	m.rescindAll(f.offers)
	delete(m.frameworks, f.id)
	m.order = slices.DeleteFunc(m.order, func(id string) bool { return id == f.id })
	m.completed = keep(append(m.completed, f), m.cfg.KeepFramewks)
	m.emit(frameworkRemoved(f))
	m.allocate()
}

func (m *Master) isCompleted(id string) bool {
	return slices.ContainsFunc(m.completed, func(f *framework) bool { return f.id == id })
}

// Call handles what a subscribed framework asks for.
func (m *Master) Call(c *scheduler.Call) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[c.GetFrameworkID().GetValue()]
	switch {
	case m.phase != Ready || !m.leads():
		return ErrNotLeading
	case f == nil:
		return ErrUnknownFramework
	case !f.connected:
		return ErrNotSubscribed
	}
	switch c.Type {
	case scheduler.Call_ACCEPT:
		m.accept(f, c.Accept)
	case scheduler.Call_DECLINE:
		m.decline(f, c.Decline.OfferIDs, c.Decline.Filters)
	case scheduler.Call_KILL:
		m.kill(f, c.Kill)
	case scheduler.Call_ACKNOWLEDGE:
		m.acknowledge(f, c.Acknowledge)
	case scheduler.Call_RECONCILE:
		m.reconcile(f, c.Reconcile.Tasks)
	case scheduler.Call_REVIVE:
		f.suppressed = false
		f.refused = map[string]time.Time{}
		m.allocate()
	case scheduler.Call_SUPPRESS:
		f.suppressed = true
	case scheduler.Call_TEARDOWN:
		m.removeFramework(f)
	default:
		return fmt.Errorf("call %v is not simulated", c.Type)
	}
	return nil
}

func (m *Master) kill(f *framework, c *scheduler.Call_Kill) {
	if t := f.tasks[taskKey{f.id, c.TaskID.Value}]; t != nil {
		t.agent.link.KillTask(f.id, c.TaskID.Value)
		return
	}
	m.reconcile(f, []scheduler.Call_Reconcile_Task{{TaskID: c.TaskID, AgentID: c.AgentID}})
}

func (m *Master) acknowledge(f *framework, ack *scheduler.Call_Acknowledge) {
	if t := f.tasks[taskKey{f.id, ack.TaskID.Value}]; t != nil && t.StatusUpdateState != nil &&
		string(t.StatusUpdateUUID) == string(ack.UUID) && terminal(*t.StatusUpdateState) {
		m.removeTask(t)
	}
	if a := m.agents[ack.AgentID.Value]; a != nil {
		a.link.Acknowledge(f.id, ack.TaskID.Value, ack.UUID)
	}
}

// reconcile answers with the latest states: of the tasks asked for, or of all.
// Tasks of agents that have not come back to this master get no answer.
func (m *Master) reconcile(f *framework, asked []scheduler.Call_Reconcile_Task) {
	if len(asked) == 0 {
		for _, t := range sortedTasks(f.tasks) {
			m.answer(f, t.TaskID, t, 0)
		}
		return
	}
	for _, q := range asked {
		t, agent := f.tasks[taskKey{f.id, q.TaskID.Value}], q.AgentID.GetValue()
		if t == nil {
			if i := slices.IndexFunc(f.unreachable, func(u *task) bool { return u.TaskID == q.TaskID }); i >= 0 {
				t = f.unreachable[i]
			}
		}
		switch {
		case t != nil:
			m.answer(f, q.TaskID, t, 0)
		case m.agents[agent] != nil:
			m.answer(f, q.TaskID, nil, mesos.TASK_GONE)
		case m.cfg.Quorum.isAdmitted(agent): // it has not come back to this master
		case m.cfg.Quorum.isUnreachable(agent):
			m.answer(f, q.TaskID, nil, mesos.TASK_UNREACHABLE)
		case m.cfg.Quorum.isGone(agent):
			m.answer(f, q.TaskID, nil, mesos.TASK_GONE_BY_OPERATOR)
		default:
			m.answer(f, q.TaskID, nil, mesos.TASK_UNKNOWN)
		}
	}
}

// answer tells of a task, or what has become of one that is not known.
func (m *Master) answer(f *framework, id mesos.TaskID, t *task, unknown mesos.TaskState) {
	status := mesos.TaskStatus{
		TaskID: id, Source: mesos.SOURCE_MASTER.Enum(), Reason: mesos.REASON_RECONCILIATION.Enum(),
		Timestamp: ptr(seconds(m.now())),
	}
	if t == nil {
		status.State = m.lostState(f, unknown).Enum()
		status.Message = ptr("Reconciliation: Task is unknown")
	} else {
		status.State = t.State
		status.Message = ptr("Reconciliation: Latest task state")
		status.AgentID = ptr(t.AgentID)
		status.ExecutorID = t.ExecutorID
		if n := len(t.Statuses); n > 0 {
			status.ContainerStatus = t.Statuses[n-1].ContainerStatus
			status.Healthy = t.Statuses[n-1].Healthy
		}
	}
	f.update(status)
}

func (m *Master) sortedFrameworks() []*framework {
	out := make([]*framework, 0, len(m.order))
	for _, id := range m.order {
		out = append(out, m.frameworks[id])
	}
	return out
}

func sortedOffers(offers map[string]*offer) []*offer {
	list := slices.Collect(maps.Values(offers))
	slices.SortFunc(list, func(a, b *offer) int { return a.seq - b.seq })
	return list
}
