package story

import (
	"context"
	"errors"
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/taskwall/taskwall/events"
)

// Group is a pod of a framework of its own, not of Marathon's: its first task
// shares the executor's network, its second has a network of its own.
type Group struct {
	s      *Stage
	caller calls.Caller
	events mesos.Response
	id     mesos.FrameworkID
}

// DeployGroup has a framework launch the pod, and waits until both tasks run
// and are attached. The apps' ids name its tasks.
func (s *Stage) DeployGroup(ctx context.Context, shares, own App) (_ *Group, err error) {
	transport := httpcli.Do(httpcli.With(httpcli.RoundTripper(s.Cluster.Control.Client().Transport)))
	g := &Group{s: s, caller: httpsched.NewCaller(httpcli.New(httpcli.Endpoint(s.Cluster.MasterURL()+"/api/v1/scheduler"), transport))}
	info := &mesos.FrameworkInfo{User: "root", Name: "pods", Roles: []string{"*"},
		Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}}}
	if g.events, err = g.caller.Call(ctx, calls.Subscribe(info)); err != nil {
		return nil, fmt.Errorf("subscribing a framework: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.events.Close())
		}
	}()
	running, launched := map[string]bool{}, false
	for len(running) < 2 {
		var e scheduler.Event
		if err := g.events.Decode(&e); err != nil {
			return nil, fmt.Errorf("reading a framework's events: %w", err)
		}
		switch e.Type {
		case scheduler.Event_SUBSCRIBED:
			g.id = *e.Subscribed.FrameworkID
		case scheduler.Event_OFFERS:
			for _, o := range e.Offers.Offers {
				if launched {
					continue
				}
				launched = true
				if err := g.call(ctx, calls.Accept(calls.OfferOperations{g.launch(o.AgentID, shares, own)}.WithOffers(o.ID))); err != nil {
					return nil, err
				}
			}
		case scheduler.Event_UPDATE:
			u := e.Update.Status
			if len(u.UUID) > 0 {
				if err := g.call(ctx, calls.Acknowledge(u.AgentID.Value, u.TaskID.Value, u.UUID)); err != nil {
					return nil, err
				}
			}
			if u.GetState() == mesos.TASK_RUNNING {
				running[u.TaskID.Value] = true
			} else if events.Terminal(u.GetState().String()) {
				return nil, fmt.Errorf("task %s is %s: %s", u.TaskID.Value, u.GetState(), u.GetMessage())
			}
		}
	}
	for _, t := range s.Cluster.Tasks() {
		if running[t.ID] {
			s.tasks[t.ID] = append(s.tasks[t.ID], t)
		}
	}
	return g, s.Until(ctx, "a pod to be attached", func() (bool, error) {
		st, err := s.Status(ctx)
		attached := 0
		for _, e := range st.Endpoints {
			if running[e.Task] && e.Wiring == events.Attached {
				attached++
			}
		}
		return attached == 2, err
	})
}

func (g *Group) launch(agent mesos.AgentID, shares, own App) mesos.Offer_Operation {
	resources := []mesos.Resource{
		{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 0.1}},
		{Name: "mem", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 32}},
		{Name: "disk", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 1}}, // the master wants it of a pod's executor
	}
	network := func() *mesos.ContainerInfo {
		name := "taskwall"
		return &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []mesos.NetworkInfo{{Name: &name}}}
	}
	task := func(app App) mesos.TaskInfo {
		command := fmt.Sprintf("exec peer --tcp %d", app.TCP[0])
		labels := &mesos.Labels{}
		for _, k := range events.SortedKeys(app.Labels) {
			value := app.Labels[k]
			labels.Labels = append(labels.Labels, mesos.Label{Key: k, Value: &value})
		}
		return mesos.TaskInfo{Name: app.ID, TaskID: mesos.TaskID{Value: app.ID}, AgentID: agent, Resources: resources,
			Command: &mesos.CommandInfo{Value: &command}, Labels: labels}
	}
	second := task(own)
	second.Container = network()
	return calls.OpLaunchGroup(mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_DEFAULT, ExecutorID: mesos.ExecutorID{Value: "pod"}, FrameworkID: &g.id, Resources: resources, Container: network(),
	}, task(shares), second)
}

func (g *Group) call(ctx context.Context, c *scheduler.Call) error {
	c.FrameworkID = &g.id
	resp, err := g.caller.Call(ctx, c)
	if err != nil {
		return fmt.Errorf("calling the master as a framework: %w", err)
	}
	if resp != nil {
		return resp.Close()
	}
	return nil
}

// End takes the framework back, and waits until nothing of the pod is told of.
func (g *Group) End(ctx context.Context) error {
	err := errors.Join(g.call(ctx, &scheduler.Call{Type: scheduler.Call_TEARDOWN}), g.events.Close())
	if err != nil {
		return err
	}
	return g.s.Until(ctx, "the end of a pod", func() (bool, error) {
		st, err := g.s.Status(ctx)
		for _, e := range st.Endpoints {
			if e.ID == g.id.Value+"/pod" || e.ID == events.NestedKey(g.id.Value, "pod", e.Task) {
				return false, err
			}
		}
		for _, h := range st.Hosts {
			if h.Ending > 0 || st.Agents[h.Name].Applied < h.Rev {
				return false, err
			}
		}
		return err == nil, err
	})
}
