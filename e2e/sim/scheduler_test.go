package sim_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	mesosscheduler "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/clock"
)

// TestSchedulerEndpoint: who may call, and with which stream id.
func TestSchedulerEndpoint(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.NoMarathon = true })
	fw := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "600.0"))
	revive := fmt.Sprintf(`{"type":"REVIVE","framework_id":{"value":%q}}`, fw.framework())
	for _, tt := range []struct {
		name, body, stream string
		want               int
	}{
		{"good", revive, fw.stream, 202},
		{"no stream id", revive, "", 400},
		{"another stream id", revive, "6b2cb4a9-0000-4000-8000-000000000000", 400},
		{"no such framework", `{"type":"REVIVE","framework_id":{"value":"none"}}`, fw.stream, 400},
		{"no framework id", `{"type":"REVIVE"}`, fw.stream, 400},
		{"no body of the call", fmt.Sprintf(`{"type":"KILL","framework_id":{"value":%q}}`, fw.framework()), fw.stream, 400},
		{"SUBSCRIBE with a stream id", fmt.Sprintf(subscribeCall, "0"), fw.stream, 400},
	} {
		var header []string
		if tt.stream != "" {
			header = []string{"Mesos-Stream-Id", tt.stream}
		}
		if resp := post(t, c.MasterURL()+"/api/v1/scheduler", tt.body, header...); resp.StatusCode != tt.want {
			b, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: %d %s, want %d", tt.name, resp.StatusCode, b, tt.want)
		}
	}

	// A second subscription of the same framework ends the first.
	first := fw.framework()
	second := newScheduler(t, c.MasterURL(), withID(fmt.Sprintf(subscribeCall, "600.0"), first))
	eventually(t, "the ERROR", func() bool {
		fw.mu.Lock()
		defer fw.mu.Unlock()
		return fw.events[len(fw.events)-1]["type"] == "ERROR"
	})
	if status := fw.call(revive); status != 400 {
		t.Errorf("the old stream may still call: %d", status)
	}
	second.resp.Body.Close()
	eventually(t, "the disconnection", func() bool { return second.call(revive) == 403 })
	third := newScheduler(t, c.MasterURL(), withID(fmt.Sprintf(subscribeCall, "600.0"), first))
	if status := third.call(fmt.Sprintf(`{"type":"TEARDOWN","framework_id":{"value":%q}}`, first)); status != 202 {
		t.Errorf("TEARDOWN: %d", status)
	}
	resp := post(t, c.MasterURL()+"/api/v1/scheduler", withID(fmt.Sprintf(subscribeCall, "600.0"), first))
	b, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(b), `{"type":"ERROR","error":{"message":"Framework has been removed"}}`) {
		t.Errorf("a removed framework: %s", b)
	}
}

// TestUpdatesAreRepeated until they are acknowledged, every ten seconds.
func TestUpdatesAreRepeated(t *testing.T) {
	m := clock.NewManual(time.Now())
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Clock = m })
	ctx := testContext(t)
	c.Marathon.HoldAcks(true)
	s := subscribe(t, c.MasterURL(), "application/json")
	if err := c.CreateApp(ctx, strings.Replace(webApp, `"instances":2`, `"instances":1`, 1)); err != nil {
		t.Fatal(err)
	}
	s.has(t, "TASK_UPDATED", "TASK_STARTING")
	eventually(t, "the first update", func() bool { return c.Marathon.Unacknowledged() == 1 })
	m.Advance(10 * time.Second)
	eventually(t, "its repetition", func() bool { return c.Marathon.Unacknowledged() == 2 })
	c.Marathon.HoldAcks(false)
	if _, err := c.WaitRunning(ctx, "/shop/web", 1); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestMesosGoScheduler: the library's scheduler client places a task on each
// host.
func TestMesosGoScheduler(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.NoMarathon = true })
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	caller := httpsched.NewCaller(httpcli.New(httpcli.Endpoint(c.MasterURL() + "/api/v1/scheduler")))
	info := &mesos.FrameworkInfo{User: "root", Name: "daemons", FailoverTimeout: ptr(600.0), Roles: []string{"*"},
		Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}, {Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}}}
	resp, err := caller.Call(ctx, calls.Subscribe(info))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	running := map[string]bool{}
	var id string
	send := func(call *mesosscheduler.Call) {
		t.Helper()
		call.FrameworkID = &mesos.FrameworkID{Value: id}
		r, err := caller.Call(ctx, call)
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			r.Close()
		}
	}
	for len(running) < 2 {
		var e mesosscheduler.Event
		if err := resp.Decode(&e); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case mesosscheduler.Event_SUBSCRIBED:
			id = e.Subscribed.FrameworkID.Value
		case mesosscheduler.Event_OFFERS:
			for _, o := range e.Offers.Offers {
				task := mesos.TaskInfo{Name: "agentd", TaskID: mesos.TaskID{Value: "agentd." + o.AgentID.Value}, AgentID: o.AgentID,
					Command: &mesos.CommandInfo{Value: ptr("sleep 1000")}, Resources: []mesos.Resource{
						{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 0.1}},
						{Name: "mem", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 32}},
					}}
				send(calls.Accept(calls.OfferOperations{calls.OpLaunch(task)}.WithOffers(o.ID)).With(calls.RefuseSeconds(time.Hour)))
			}
		case mesosscheduler.Event_UPDATE:
			s := e.Update.Status
			if len(s.UUID) > 0 {
				send(calls.Acknowledge(s.AgentID.Value, s.TaskID.Value, s.UUID))
			}
			if s.GetState() == mesos.TASK_RUNNING {
				running[s.AgentID.Value] = true
			}
		}
	}
	if tasks := c.Tasks(); len(tasks) != 2 || tasks[0].Host == tasks[1].Host {
		t.Errorf("tasks %v", tasks)
	}
}

func ptr[T any](v T) *T { return &v }
