package marathon

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/taskwall/taskwall/e2e/sim/clock"
	"github.com/taskwall/taskwall/e2e/sim/group"
	"github.com/taskwall/taskwall/e2e/sim/ids"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// Config are Marathon's flags.
type Config struct {
	Quorum *master.Quorum
	Clock  clock.Clock
	IDs    *ids.Source
	Log    *slog.Logger

	DefaultNetwork string // --default_network_name
	BridgeName     string // --mesos_bridge_name, mesos-bridge
	TaskKilling    bool   // --enable_features task_killing
	Outstanding    int    // --event_stream_max_outstanding_messages, 1024
	User           string // --mesos_user, root
	// LegacyTaskIDs gives apps' tasks the ids of Marathon before 1.4, which may
	// still run after upgrades (CLUSTER-API 2.3).
	LegacyTaskIDs bool
	// Backoff overrides every app's launch delay after a failure when not
	// negative: tests don't want to wait.
	Backoff time.Duration
	// RootLag is how long a change of the apps is invisible in /v2/apps after
	// its deployment began (CLUSTER-API 1.5).
	RootLag time.Duration
	// AttachLag is the window after an event stream's 200 in which events are
	// lost.
	AttachLag time.Duration
	// KeepAlive is the stream's blank-line interval, 10 s.
	KeepAlive time.Duration
	// NotReadyFor is how long a new leader closes streams at once.
	NotReadyFor time.Duration

	// Dial opens the connections of Marathon's own health checks; without it
	// they find every task well.
	Dial Dial

	Users  map[string]string // --http_credentials
	Scheme string            // of the members' addresses, "http"
	Tamper Tamper
}

// Marathon is the state and the scheduler that the members of one Marathon
// cluster share.
type Marathon struct {
	cfg  Config
	bus  *bus
	ctx  context.Context
	stop context.CancelFunc
	work group.Group

	mu          sync.Mutex
	root        map[string]*runSpec   // what /v2/apps shows
	target      map[string]*runSpec   // what deployments work towards
	versions    map[string][]*runSpec // oldest first
	instances   map[string]*instance
	bySpec      map[string][]*instance // by the spec's id, oldest first
	seq         int
	deployments []*deployment
	lastVersion time.Time
	changed     chan struct{} // closed at any change of an instance

	// leadership
	members   []*Member
	leader    *Member
	led       chan struct{} // closed at a change of leader
	readyFrom time.Time

	// the framework
	framework string // its id, "" before the first registration
	master    *master.Master
	events    *queue
	held      []mesos.Offer
	acksHeld  bool // faults: see HoldAcks
	unacked   []*scheduler.Call

	// filters: see Overload and Hide
	overloaded atomic.Bool
	hidden     []string
}

// New makes a Marathon cluster without members; see AddMember.
func New(cfg Config) *Marathon {
	cfg.BridgeName = cmp.Or(cfg.BridgeName, "mesos-bridge")
	cfg.DefaultNetwork = cmp.Or(cfg.DefaultNetwork, "taskwall")
	cfg.Outstanding = cmp.Or(cfg.Outstanding, 1024)
	cfg.User = cmp.Or(cfg.User, "root")
	cfg.Scheme = cmp.Or(cfg.Scheme, "http")
	cfg.KeepAlive = cmp.Or(cfg.KeepAlive, 10*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.IDs == nil {
		cfg.IDs = ids.New(3)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Marathon{
		cfg:       cfg,
		bus:       &bus{limit: cfg.Outstanding, tamper: cfg.Tamper},
		root:      map[string]*runSpec{},
		target:    map[string]*runSpec{},
		versions:  map[string][]*runSpec{},
		instances: map[string]*instance{},
		bySpec:    map[string][]*instance{},
		changed:   make(chan struct{}),
		led:       make(chan struct{}),
		events:    newQueue(),
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.work.Go(m.run)
	return m
}

// Close stops the scheduler; the tasks run on.
func (m *Marathon) Close() {
	m.stop()
	m.bus.cutAll()
	m.work.Close()
}

// FrameworkID is Marathon's id with Mesos, "" before it registered.
func (m *Marathon) FrameworkID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.framework
}

// Published are all events so far, in order.
func (m *Marathon) Published() []Event { return m.bus.published() }

// CutStreams breaks every event stream.
func (m *Marathon) CutStreams() { m.bus.cutAll() }

// queue is the way of the master's events to the scheduler.
type queue struct {
	mu   sync.Mutex
	list []*scheduler.Event
	wake chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(e *scheduler.Event) {
	q.mu.Lock()
	q.list = append(q.list, e)
	q.mu.Unlock()
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []*scheduler.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}

// run is the scheduler: it keeps a subscription with the leading master and
// works through its events.
func (m *Marathon) run() {
	for m.ctx.Err() == nil {
		changed := m.cfg.Quorum.LeaderChanged()
		leader := m.cfg.Quorum.Leader()
		m.mu.Lock()
		if leader != m.master && m.leader != nil {
			m.reconnect(leader)
		}
		m.mu.Unlock()
		for batch := m.events.take(); len(batch) > 0 && m.ctx.Err() == nil; batch = m.events.take() {
			m.handle(batch)
		}
		select {
		case <-changed:
		case <-m.events.wake:
		case <-m.ctx.Done():
		}
	}
}

// reconnect subscribes with a new master; the old one is lost, and with it
// Marathon's own leadership, save at the very first. The lock is held.
func (m *Marathon) reconnect(to *master.Master) {
	if m.master != nil {
		m.publish("scheduler_disconnected_event", m.head("scheduler_disconnected_event"))
		m.master = nil
		m.abdicate()
	}
	if to == nil {
		return
	}
	info := mesos.FrameworkInfo{
		User: m.cfg.User, Name: "marathon", FailoverTimeout: ptr(604800.0), Checkpoint: ptr(true), Roles: []string{"*"},
		Hostname: ptr("marathon"),
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}, {Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
			{Type: mesos.FrameworkInfo_Capability_REGION_AWARE},
		},
	}
	if m.cfg.TaskKilling {
		info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE})
	}
	if m.framework != "" {
		info.ID = &mesos.FrameworkID{Value: m.framework}
	}
	m.events.take() // what the old master still said
	m.held = nil
	id, _, err := to.Subscribe(info, nil, m.events.put)
	if errors.Is(err, master.ErrRemoved) { // torn down: start over as a new framework
		m.framework = ""
		info.ID = nil
		id, _, err = to.Subscribe(info, nil, m.events.put)
	}
	if err != nil {
		return // the next change of leader brings another try
	}
	m.master = to
	first := m.framework == ""
	m.framework = id
	e := schedulerRegistered{Master: hostname(to), head: m.head("scheduler_reregistered_event")}
	if first {
		e.FrameworkID, e.head = id, m.head("scheduler_registered_event")
	}
	m.publish(e.EventType, e)
	m.reconcile()
}

func hostname(*master.Master) string { return "localhost" }

// call asks something of the master. The lock is held.
func (m *Marathon) call(c *scheduler.Call) {
	if m.master == nil {
		return
	}
	c.FrameworkID = &mesos.FrameworkID{Value: m.framework}
	if err := m.master.Call(c); err != nil {
		m.cfg.Log.Warn("call refused by master", "call", c.Type.String(), "err", err)
	}
}

func (m *Marathon) reconcile() {
	var tasks []scheduler.Call_Reconcile_Task
	for _, i := range m.sortedInstances() {
		for _, t := range i.tasks {
			if !t.done() {
				tasks = append(tasks, scheduler.Call_Reconcile_Task{
					TaskID: mesos.TaskID{Value: t.id}, AgentID: &mesos.AgentID{Value: i.agentID}})
			}
		}
	}
	if len(tasks) > 0 {
		m.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{Tasks: tasks}})
	}
	m.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
	for _, i := range m.sortedInstances() { // what was asked for while nobody listened
		switch {
		case i.stopped:
			m.kill(i)
		case i.condition == "Scheduled":
			m.revive()
		}
	}
}

// handle works through a batch of the master's events.
func (m *Marathon) handle(batch []*scheduler.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range batch {
		switch e.Type {
		case scheduler.Event_OFFERS:
			m.held = append(m.held, e.Offers.Offers...)
		case scheduler.Event_RESCIND:
			m.drop(e.Rescind.OfferID.Value)
		case scheduler.Event_UPDATE:
			m.update(e.Update.Status)
			m.acknowledge(e.Update.Status)
		}
	}
	m.place()
}

func (m *Marathon) acknowledge(s mesos.TaskStatus) {
	if len(s.UUID) == 0 {
		return
	}
	c := &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{
		AgentID: *s.AgentID, TaskID: s.TaskID, UUID: s.UUID,
	}}
	if m.acksHeld {
		m.unacked = append(m.unacked, c)
		return
	}
	m.call(c)
}

// HoldAcks makes Marathon slow to acknowledge: updates then lag, one per task.
func (m *Marathon) HoldAcks(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acksHeld = on
	if !on {
		for _, c := range m.unacked {
			m.call(c)
		}
		m.unacked = nil
	}
}

// touch wakes whoever waits for instances. The lock is held.
func (m *Marathon) touch() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// after runs f under the lock when d has passed.
func (m *Marathon) after(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	fired, stop := m.cfg.Clock.After(d)
	m.work.Go(func() {
		defer stop()
		select {
		case <-fired:
			m.mu.Lock()
			defer m.mu.Unlock()
			f()
		case <-m.ctx.Done():
		}
	})
}

func ptr[T any](v T) *T { return &v }

// Unacknowledged is how many acknowledgements HoldAcks holds back.
func (m *Marathon) Unacknowledged() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unacked)
}
