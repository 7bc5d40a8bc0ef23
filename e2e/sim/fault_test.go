package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"
	"go.uber.org/goleak"

	"github.com/taskwall/taskwall/e2e/sim"
)

// TestCloseLeavesNoGoroutine: after Close nothing of a cluster runs, whatever
// streams and tasks it had.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c, err := sim.Start(testContext(t), sim.Config{Hosts: []sim.Host{{Name: "h1"}}, AgentHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil {
		t.Fatal(err)
	}
	mesos := subscribe(t, c.MasterURL(), "application/json")
	mesos.has(t, "HEARTBEAT")
	marathon := openEvents(t, c.MarathonURL(), "")
	marathon.collect(isKind("event_stream_attached"))
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	<-mesos.done
	for kind := "-"; kind != ""; kind, _ = marathon.next() {
	}
	marathon.conn.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// TestChaosIsReproducible: streams lose, double and delay events, in the same
// way for the same seed, and heal.
func TestChaosIsReproducible(t *testing.T) {
	run := func(seed uint64) string {
		c := paperCluster(t, func(cfg *sim.Config) { cfg.Seed, cfg.NoMarathon, cfg.Hosts = seed, true, nil })
		s := subscribe(t, c.MasterURL(), "application/json")
		s.has(t, "HEARTBEAT")
		c.TamperMesos(sim.Chaos{Drop: 0.2, Duplicate: 0.2, Delay: 0.3})
		for range 20 {
			newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0")).resp.Body.Close()
			eventually(t, "the framework to go", func() bool {
				return len(c.Master().Get(mesosmaster.Call_GET_FRAMEWORKS, true).GetFrameworks.Frameworks) == 0
			})
		}
		c.TamperMesos(sim.Chaos{})
		if _, err := c.AddHost(sim.Host{Name: "end"}); err != nil {
			t.Fatal(err)
		}
		s.has(t, "AGENT_ADDED")
		var out []string
		for _, r := range s.records() {
			text := normal(r)
			kind, _, _ := strings.Cut(strings.TrimPrefix(text, `{"type":"`), `"`)
			id := ""
			if i := strings.Index(text, "UUID-"); i >= 0 {
				id = text[i+5 : i+9]
			}
			out = append(out, kind+id)
		}
		return strings.Join(out, " ")
	}
	first := run(1)
	if again := run(1); again != first {
		t.Errorf("the same seed gave\n%s\nand\n%s", first, again)
	}
	if n := strings.Count(first, "FRAMEWORK_"); n == 40 && !strings.Contains(first, "FRAMEWORK_REMOVED0001 FRAMEWORK_REMOVED0000") {
		t.Logf("40 events: %s", first)
	}
	added := strings.Count(first, "FRAMEWORK_ADDED")
	if added == 20 && strings.Count(first, "FRAMEWORK_REMOVED") == 20 {
		t.Errorf("nothing was lost or doubled: %s", first)
	}
	if other := run(2); other == first {
		t.Error("another seed gave the same chaos")
	}
}

// TestAgentWithinThePingWindow: the ping timeout, not the broken connection,
// makes an agent unreachable; within it the agent returns without a word.
func TestAgentWithinThePingWindow(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.PingTimeout = 50 * time.Millisecond })
	s := subscribe(t, c.MasterURL(), "application/json")
	s.has(t, "HEARTBEAT")
	c.Host("h1").Agent.Kill()
	if err := c.Host("h1").Agent.Start(); err != nil {
		t.Fatal(err)
	}
	c.Host("h2").Agent.Kill()
	eventually(t, "h2 to be unreachable", func() bool {
		return len(c.Master().Get(mesosmaster.Call_GET_AGENTS, true).GetAgents.Agents) == 1
	})
	for _, r := range s.records() {
		if strings.Contains(string(r), `"type":"AGENT_`) && !strings.Contains(string(r), "SUBSCRIBED") {
			t.Errorf("the stream told of it: %s", r)
		}
	}
}

// TestAcknowledgementsGateUpdates: while Marathon does not acknowledge, the
// stream shows each task's first state only; then all follow.
func TestAcknowledgementsGateUpdates(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	c.Marathon.HoldAcks(true)
	s := subscribe(t, c.MasterURL(), "application/json")
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil { // on the agents
		t.Fatal(err)
	}
	s.has(t, "TASK_UPDATED", `"state":"TASK_STARTING"`)
	for _, r := range s.records() {
		if strings.Contains(string(r), `"status":{`) && strings.Contains(string(r), `},"state":"TASK_RUNNING","source"`) {
			t.Errorf("an update that was gated: %s", r)
		}
	}
	c.Marathon.HoldAcks(false)
	s.has(t, "TASK_UPDATED", `},"state":"TASK_RUNNING","source"`)
}

// TestThousandsOfTasks: a cluster on paper starts them in seconds, and its
// snapshot is larger than what mesos-go's reader takes by default.
func TestThousandsOfTasks(t *testing.T) {
	hosts := make([]sim.Host, 100)
	for n := range hosts {
		hosts[n].Name = fmt.Sprintf("h%03d", n)
	}
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Hosts = hosts })
	ctx := testContext(t)
	start := time.Now()
	app := strings.NewReplacer(`"instances":2`, `"instances":3000`, `"cpus":0.1`, `"cpus":0.1`, `"tier":"web"`, `"tier":"web","long":"`+strings.Repeat("x", 200)+`"`).Replace(webApp)
	if err := c.CreateApp(ctx, app); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 3000); err != nil {
		t.Fatal(err)
	}
	t.Logf("3000 tasks on 100 hosts in %v", time.Since(start))
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_STATE"}`)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) < 4<<20 {
		t.Errorf("GET_STATE is %d bytes, %v", len(b), err)
	}
}

// TestHopelessApps: one that no host can take waits in the queue, one that
// always fails is tried ever more rarely; neither keeps the cluster from
// ending.
func TestHopelessApps(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, strings.Replace(webApp, `"name":"http"`, `"hostPort":7777`, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateApp(ctx, `{"id":"/twice","cmd":"x","instances":1,"cpus":0.1,"mem":16}`); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 4; n++ {
		eventually(t, "another attempt", func() bool {
			for _, task := range c.TasksOf("/twice") {
				if strings.HasSuffix(task.ID, fmt.Sprintf("._app.%d", n)) && task.State == "TASK_RUNNING" {
					return c.Host(task.Host).Agent.Exit(task.ID, 1) == nil
				}
			}
			return false
		})
	}
	var queue struct{ Queue []struct{ Count int } }
	if err := c.Get(ctx, "/v2/queue", &queue); err != nil || len(queue.Queue) == 0 || len(c.TasksOf("/shop/web")) != 0 {
		t.Errorf("queue %+v, %v, tasks %v", queue, err, c.TasksOf("/shop/web"))
	}
}
