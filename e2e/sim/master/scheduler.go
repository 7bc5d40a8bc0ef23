package master

import (
	"errors"
	"net/http"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/taskwall/taskwall/e2e/sim/wire"
)

const streamID = "Mesos-Stream-Id"

// scheduler is POST /api/v1/scheduler (CLUSTER-API 4).
func (m *Master) scheduler(w http.ResponseWriter, r *http.Request) {
	endpoint := wire.Endpoint{Name: "scheduler::Call", Realm: "mesos-master-scheduler", Users: m.cfg.Users}
	var call scheduler.Call
	x := endpoint.Open(w, r, &call, func() string { return validateScheduler(&call) })
	if x == nil {
		return
	}
	id := r.Header.Get(streamID)
	if call.Type == scheduler.Call_SUBSCRIBE {
		if id != "" {
			wire.Text(w, http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
			return
		}
		m.serveFramework(x, &call)
		return
	}
	if status, why := m.mayCall(call.FrameworkID.Value, id); status != 0 {
		wire.Text(w, status, why)
		return
	}
	err := m.Call(&call)
	switch {
	case err == nil:
		x.Accepted()
	case errors.Is(err, ErrNotSubscribed):
		wire.Text(w, http.StatusForbidden, "Framework is not subscribed")
	default:
		wire.Text(w, http.StatusBadRequest, err.Error())
	}
}

func validateScheduler(c *scheduler.Call) string {
	switch {
	case c.Type == scheduler.Call_UNKNOWN:
		return "Expecting 'type' to be present"
	case c.Type == scheduler.Call_SUBSCRIBE:
		switch {
		case c.Subscribe == nil || c.Subscribe.FrameworkInfo == nil:
			return "Expecting 'subscribe' to be present"
		case c.Subscribe.FrameworkInfo.ID.GetValue() != c.FrameworkID.GetValue():
			return "'framework_id' differs from 'subscribe.framework_info.id'"
		case c.Subscribe.FrameworkInfo.User == "":
			return "Expecting 'subscribe.framework_info.user' to be present"
		}
		return ""
	case c.FrameworkID == nil:
		return "Expecting 'framework_id' to be present"
	case c.Type == scheduler.Call_ACCEPT && c.Accept == nil:
		return "Expecting 'accept' to be present"
	case c.Type == scheduler.Call_DECLINE && c.Decline == nil:
		return "Expecting 'decline' to be present"
	case c.Type == scheduler.Call_KILL && c.Kill == nil:
		return "Expecting 'kill' to be present"
	case c.Type == scheduler.Call_ACKNOWLEDGE && c.Acknowledge == nil:
		return "Expecting 'acknowledge' to be present"
	case c.Type == scheduler.Call_RECONCILE && c.Reconcile == nil:
		return "Expecting 'reconcile' to be present"
	}
	return ""
}

func (m *Master) mayCall(framework, stream string) (int, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[framework]
	switch {
	case f == nil:
		return http.StatusBadRequest, "Framework cannot be found"
	case !f.connected:
		return http.StatusForbidden, "Framework is not subscribed"
	case stream == "":
		return http.StatusBadRequest, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"
	case stream != f.stream:
		return http.StatusBadRequest, "The stream ID '" + stream + "' included in this request didn't match the stream ID currently associated with framework ID " + framework
	}
	return 0, ""
}

// serveFramework answers SUBSCRIBE: the events of one framework until it goes.
func (m *Master) serveFramework(x *wire.Exchange, call *scheduler.Call) {
	id := m.cfg.IDs.UUID()
	stream := x.Stream(http.Header{streamID: []string{id}})
	ended := make(chan struct{})
	framework, session, err := m.subscribeStream(*call.Subscribe.FrameworkInfo, call.Subscribe.SuppressedRoles, id, func(e *scheduler.Event) {
		stream.Send(wire.Printer{}, e)
		if e.Type == scheduler.Event_ERROR {
			stream.Close()
		}
	})
	if err != nil {
		stream.Send(wire.Printer{}, &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{
			Message: "Framework has been removed"}})
		stream.Close()
		stream.Serve(m.stop)
		return
	}
	m.work.Go(func() {
		m.beatFramework(stream, ended, func() bool { return m.speaks(framework, session) })
	})
	stream.Serve(m.stop)
	close(ended)
	m.Disconnected(framework, session)
}

func (m *Master) beatFramework(s *wire.Stream, ended <-chan struct{}, speaks func() bool) {
	for speaks() {
		fired, stop := m.cfg.Clock.After(m.cfg.Heartbeat)
		select {
		case <-fired:
			s.Send(wire.Printer{}, &scheduler.Event{Type: scheduler.Event_HEARTBEAT})
		case <-ended:
			stop()
			return
		case <-m.stop:
			stop()
			return
		}
	}
}
