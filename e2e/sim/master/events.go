package master

import (
	"net"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// Tamper decides what a subscriber gets in place of an event: nothing, it
// twice, others held back before. Streams count from 0 in the order of
// subscription. Heartbeats and SUBSCRIBED pass untouched.
type Tamper func(stream int, e *master.Event) []*master.Event

type subscriber struct {
	number  int
	stream  *wire.Stream
	evicted bool
}

// emit tells all subscribers.
func (m *Master) emit(e *master.Event) {
	var encoded [2][]byte // JSON and protobuf, made when first needed
	for _, s := range m.subs {
		if m.cfg.Tamper != nil {
			for _, e := range m.cfg.Tamper(s.number, e) {
				s.stream.Send(wire.Printer{}, e)
			}
			continue
		}
		i := 0
		if !s.stream.Codec().JSON() {
			i = 1
		}
		if encoded[i] == nil {
			encoded[i] = s.stream.Codec().Encode(wire.Printer{}, e)
		}
		s.stream.SendRaw(encoded[i])
	}
}

// subscribe adds an operator stream: the snapshot, a heartbeat at once, then
// events. The oldest stream beyond the limit is forgotten: its connection
// stays open, and silent.
func (m *Master) subscribe(x *wire.Exchange) {
	m.mu.Lock()
	s := &subscriber{number: m.nextSub, stream: x.Stream(nil)}
	m.nextSub++
	s.stream.Send(printer, &master.Event{Type: master.Event_SUBSCRIBED, Subscribed: &master.Event_Subscribed{
		GetState: m.stateModel(x.JSON()), HeartbeatIntervalSeconds: ptr(m.cfg.Heartbeat.Seconds()),
	}})
	s.stream.Send(wire.Printer{}, heartbeat)
	m.subs = append(m.subs, s)
	if len(m.subs) > m.cfg.Streams {
		m.subs[0].evicted = true
		m.subs = m.subs[1:]
	}
	m.mu.Unlock()

	done := make(chan struct{})
	m.work.Go(func() { m.beat(s, done) })
	s.stream.Serve(m.stop)
	close(done)
	m.mu.Lock()
	m.subs = slices.DeleteFunc(m.subs, func(o *subscriber) bool { return o == s })
	m.mu.Unlock()
}

var heartbeat = &master.Event{Type: master.Event_HEARTBEAT}

func (m *Master) beat(s *subscriber, done <-chan struct{}) {
	for {
		fired, stop := m.cfg.Clock.After(m.cfg.Heartbeat)
		select {
		case <-fired:
			m.mu.Lock()
			if !s.evicted && !m.mute {
				s.stream.Send(wire.Printer{}, heartbeat)
			}
			m.mu.Unlock()
		case <-done:
			stop()
			return
		case <-m.stop:
			stop()
			return
		}
	}
}

// CutStreams breaks every operator stream.
func (m *Master) CutStreams() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.subs {
		s.stream.Close()
	}
	m.subs = nil
}

// EvictStreams forgets every operator stream without closing it, as the limit
// on subscribers does to the oldest.
func (m *Master) EvictStreams() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.subs {
		s.evicted = true
	}
	m.subs = nil
}

// Mute holds heartbeats back: a client must notice.
func (m *Master) Mute(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mute = on
}

// Streams is how many operator streams get events.
func (m *Master) Streams() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.subs)
}

func taskAdded(t mesos.Task) *master.Event {
	return &master.Event{Type: master.Event_TASK_ADDED, TaskAdded: &master.Event_TaskAdded{Task: t}}
}

func taskUpdated(t *task, status mesos.TaskStatus) *master.Event {
	return &master.Event{Type: master.Event_TASK_UPDATED, TaskUpdated: &master.Event_TaskUpdated{
		FrameworkID: t.FrameworkID, Status: status, State: t.State,
	}}
}

func agentAdded(a master.Response_GetAgents_Agent) *master.Event {
	a.OfferedResources = nil
	return &master.Event{Type: master.Event_AGENT_ADDED, AgentAdded: &master.Event_AgentAdded{Agent: a}}
}

func agentRemoved(id string) *master.Event {
	return &master.Event{Type: master.Event_AGENT_REMOVED, AgentRemoved: &master.Event_AgentRemoved{AgentID: mesos.AgentID{Value: id}}}
}

func frameworkAdded(f *framework) *master.Event {
	return &master.Event{Type: master.Event_FRAMEWORK_ADDED, FrameworkAdded: &master.Event_FrameworkAdded{Framework: f.eventModel()}}
}

func frameworkUpdated(f *framework) *master.Event {
	return &master.Event{Type: master.Event_FRAMEWORK_UPDATED, FrameworkUpdated: &master.Event_FrameworkUpdated{Framework: f.eventModel()}}
}

func frameworkRemoved(f *framework) *master.Event {
	return &master.Event{Type: master.Event_FRAMEWORK_REMOVED, FrameworkRemoved: &master.Event_FrameworkRemoved{FrameworkInfo: f.info}}
}

func hostOf(pid string) string {
	_, addr, _ := strings.Cut(pid, "@")
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
