package placement

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/connect"
	operator "github.com/taskwall/taskwall/events/mesos"
)

const (
	mediaType = "application/x-protobuf"
	streamID  = "Mesos-Stream-Id"
	// maxRecord bounds an event, in bytes: ten thousand offers are ten million.
	maxRecord = 256 << 20
	// failover is how long the master keeps the tasks of a framework that no
	// controller speaks for.
	failover = 4 * 7 * 24 * time.Hour
)

// session is one subscription.
type session struct {
	*Placement
	leader *url.URL
	stream string // what the leader calls the subscription
}

// session subscribes and does what the events ask for, until it fails.
func (p *Placement) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p.framework == "" || p.removed[p.framework] {
		p.rename(p.id())
	}
	resp, leader, err := p.subscribe(ctx) //nolint:bodyclose // the goroutine that reads it does
	if err != nil {
		return err
	}
	defer func() { p.client.Served(p.leader != "") }()
	s := &session{Placement: p, leader: leader, stream: resp.Header.Get(streamID)}
	heard, ended := make(chan *scheduler.Event), make(chan struct{})
	defer func() { // cancel ends the reading
		cancel(nil)
		<-ended
	}()
	go func() {
		defer close(ended)
		defer resp.Body.Close()
		cancel(s.read(ctx, resp.Body, heard, cancel))
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var made []*scheduler.Call
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-heard:
			if made, err = s.take(e); err != nil {
				return err
			}
		case <-tick.C:
			made = s.decide((*fleet).tick)
		}
		for _, c := range made {
			if err := s.call(ctx, c); err != nil {
				return err
			}
		}
	}
}

// decide asks the fleet, once the framework is registered.
func (s *session) decide(what func(*fleet) []*scheduler.Call) []*scheduler.Call {
	lasting := false
	for _, f := range s.cfg.Known() {
		lasting = lasting || f.ID == s.framework
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Placement.leader == "" {
		return nil
	}
	s.fleet.lasting = lasting
	return what(s.fleet)
}

// take does what an event asks for.
func (s *session) take(e *scheduler.Event) ([]*scheduler.Call, error) {
	switch e.Type {
	case scheduler.Event_SUBSCRIBED:
		s.connected(s.leader.Host, e.Subscribed.GetFrameworkID().GetValue())
		s.cfg.Logger.Info("placing agents", "leader", s.leader.Host, "framework", s.framework, "spec", s.fleet.spec)
		return s.decide((*fleet).begin), nil
	case scheduler.Event_OFFERS:
		return s.decide(func(f *fleet) []*scheduler.Call { return f.offers(e.GetOffers().GetOffers()) }), nil
	case scheduler.Event_UPDATE:
		status := e.Update.Status
		if state := status.GetState(); events.Terminal(state.String()) {
			s.cfg.Logger.Info("an agent's task ended", "task", status.TaskID.Value, "said", said(&status))
		}
		return s.decide(func(f *fleet) []*scheduler.Call { return f.update(&status) }), nil
	case scheduler.Event_FAILURE:
		if lost := e.GetFailure(); lost.GetExecutorID() == nil {
			s.decide(func(f *fleet) []*scheduler.Call { f.lost(lost.GetAgentID().GetValue()); return nil })
		}
	case scheduler.Event_ERROR:
		if strings.Contains(e.Error.GetMessage(), "removed") { // torn down, or nobody spoke for it for too long (CLUSTER-API 4)
			s.removed[s.framework] = true
			return nil, errRemoved
		}
		return nil, fmt.Errorf("%s says: %s", s.leader.Host, e.Error.GetMessage())
	}
	return nil, nil // RESCIND: a launch with that offer fails, and is told of
}

// read hands the events over until the stream ends or falls silent.
func (s *session) read(ctx context.Context, body io.Reader, heard chan<- *scheduler.Event, cancel context.CancelCauseFunc) error {
	watch := &connect.Watch{R: body, Patience: 30 * time.Second}
	watch.Expired = func() { cancel(fmt.Errorf("%s is silent for %s", s.leader.Host, watch.Patience)) }
	records := operator.NewRecordReader(watch, maxRecord)
	for {
		b, err := records.Next()
		if err != nil {
			return fmt.Errorf("reading the offers of %s: %w", s.leader.Host, err)
		}
		e := &scheduler.Event{}
		if err := e.Unmarshal(b); err != nil {
			return fmt.Errorf("an event of %s: %w", s.leader.Host, err)
		}
		if beat := e.GetSubscribed().GetHeartbeatIntervalSeconds(); beat > 0 {
			watch.Patience = max(time.Duration(5*beat*float64(time.Second)), time.Second)
		}
		select {
		case heard <- e:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// subscribe finds the leader. The caller closes the answer's body.
func (p *Placement) subscribe(ctx context.Context) (*http.Response, *url.URL, error) {
	yes, weeks, hostname := true, failover.Seconds(), ""
	if name, err := os.Hostname(); err == nil { // only shown to people
		hostname = name
	}
	info := &mesos.FrameworkInfo{User: p.cfg.Task.User, Name: p.cfg.Name, FailoverTimeout: &weeks, Checkpoint: &yes, Roles: []string{p.cfg.Role}, Hostname: &hostname}
	if p.cfg.User != "" {
		info.Principal = &p.cfg.User
	}
	// Without some of these no host of another region, and none with GPUs, is
	// offered (CLUSTER-API 4).
	for _, c := range []mesos.FrameworkInfo_Capability_Type{
		mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE, mesos.FrameworkInfo_Capability_MULTI_ROLE,
		mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT, mesos.FrameworkInfo_Capability_REGION_AWARE, mesos.FrameworkInfo_Capability_GPU_RESOURCES,
	} {
		info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: c})
	}
	call := calls.Subscribe(info)
	if p.framework != "" {
		call = call.With(calls.SubscribeTo(p.framework))
	}
	return p.client.Find(ctx, func(ctx context.Context, at *url.URL) (*http.Response, error) { return p.post(ctx, at, "", call) })
}

// call makes one of the calls that are answered with nothing.
func (s *session) call(ctx context.Context, c *scheduler.Call) error {
	c.FrameworkID = &mesos.FrameworkID{Value: s.framework}
	resp, err := s.post(ctx, s.leader, s.stream, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%v: %w", c.Type, s.client.Refused(resp))
	}
	return nil
}

func (p *Placement) post(ctx context.Context, to *url.URL, stream string, c *scheduler.Call) (*http.Response, error) {
	b, err := c.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding %v: %w", c.Type, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String()+"/api/v1/scheduler", bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", c.Type, to.Host, err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	if stream != "" {
		req.Header.Set(streamID, stream)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", c.Type, to.Host, err)
	}
	return resp, nil
}
