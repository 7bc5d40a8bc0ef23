package sim_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/e2e/sim/wire"
)

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second) // far beyond need: the machine may be busy
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// recordedCluster is the cluster of the recordings: one agent on 127.0.0.1.
func recordedCluster(t *testing.T) *sim.Cluster {
	t.Helper()
	c, err := sim.Start(testContext(t), sim.Config{
		NoMarathon: true, Seed: 7, PingTimeout: time.Hour,
		PaperIP: func(_ string, n int) string { return fmt.Sprintf("10.213.0.%d", n+2) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addRecordedAgent(t *testing.T, c *sim.Cluster) *sim.Node {
	t.Helper()
	n, err := c.AddHost(sim.Host{Name: "127.0.0.1", Address: "127.0.0.1/8", Attributes: map[string]string{"rack": "r1", "zone": "z1"},
		Resources: master.Amount{Cpus: 4, Mem: 2048, Disk: 4096, Ports: []mesos.Value_Range{{Begin: 31000, End: 31100}}}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const subscribeCall = `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"rec-framework","roles":["*"],"failover_timeout":%s,"checkpoint":true,"capabilities":[{"type":"MULTI_ROLE"},{"type":"PARTITION_AWARE"},{"type":"TASK_KILLING_STATE"}],"labels":{"labels":[{"key":"fwk","value":"rec"}]}}}}`

// play goes through the scenario of recording 1-subscribe, as far as a cluster
// on paper can: registration, three command tasks, task groups, teardown, an
// agent that is unreachable and returns.
func play(t *testing.T, c *sim.Cluster) {
	agent := addRecordedAgent(t, c).Agent
	url := c.MasterURL()

	fw1 := newScheduler(t, url, fmt.Sprintf(subscribeCall, "0"))
	fw1.accept("fw1", "web.1")
	fw1.saw("web.1", "TASK_RUNNING", "HEALTH_CHECK")
	fw1.saw("failing.1", "TASK_RUNNING")
	fw1.saw("finishing.1", "TASK_RUNNING")
	for task, code := range map[string]int{"finishing.1": 0, "failing.1": 3} {
		if err := agent.Exit(task, code); err != nil {
			t.Fatal(err)
		}
	}
	fw1.saw("finishing.1", "TASK_FINISHED")
	fw1.saw("failing.1", "TASK_FAILED")
	fw1.kill("web.1")
	fw1.saw("web.1", "TASK_KILLED")
	fw1.accept("fw1", "g1")
	fw1.saw("g1", "TASK_ERROR", "Executor 'grp-exec' uses no disk")
	fw1.kill("g1")
	fw1.saw("g1", "TASK_UNKNOWN")
	fw1.call(fmt.Sprintf(`{"type":"TEARDOWN","framework_id":{"value":%q}}`, fw1.framework()))

	fw2 := newScheduler(t, url, fmt.Sprintf(subscribeCall, "0"))
	fw2.accept("fw2", "g1")
	fw2.saw("g1", "TASK_RUNNING")
	fw2.saw("g2", "TASK_RUNNING")
	fw2.accept("fw2", "h1")
	fw2.saw("h1", "TASK_RUNNING")
	fw2.saw("h2", "TASK_RUNNING")
	fw2.kill("g1")
	fw2.saw("g1", "TASK_KILLED")
	fw2.saw("g2", "TASK_KILLED")
	fw2.call(fmt.Sprintf(`{"type":"RECONCILE","framework_id":{"value":%q},"reconcile":{"tasks":[]}}`, fw2.framework()))
	fw2.saw("h1", "TASK_RUNNING", "Reconciliation: Latest task state")
	fw2.call(fmt.Sprintf(`{"type":"TEARDOWN","framework_id":{"value":%q}}`, fw2.framework()))

	fw3 := newScheduler(t, url, fmt.Sprintf(subscribeCall, "600.0"))
	fw3.accept("fw3", "host.1")
	fw3.saw("host.1", "TASK_RUNNING")
	if err := agent.Exit("host.1", 0); err != nil {
		t.Fatal(err)
	}
	fw3.saw("host.1", "TASK_FINISHED")
	fw3.accept("fw3", "stay.1")
	fw3.saw("stay.1", "TASK_RUNNING")
	fw3.accept("fw3", "stay.2")
	fw3.saw("stay.2", "TASK_RUNNING")
	fw3.resp.Body.Close()
	resubscribe := strings.Replace(fmt.Sprintf(subscribeCall, "600.0"), `"name"`, fmt.Sprintf(`"id":{"value":%q},"name"`, fw3.framework()), 1)
	resubscribe = strings.Replace(resubscribe, `"subscribe"`, fmt.Sprintf(`"framework_id":{"value":%q},"subscribe"`, fw3.framework()), 1)
	fw3.connect(resubscribe)
	c.Unreachable("127.0.0.1")
	fw3.saw("stay.1", "TASK_UNREACHABLE")
	c.Reachable("127.0.0.1")
	fw3.saw("stay.1", "TASK_RUNNING", "Unreachable agent re-reregistered")
}

// TestStreamEqualsRecording compares every event that the simulator sends with
// what a real 1.12 master sent in the same scenario: per task, agent and
// framework the same records in the same order, byte for byte but for ids,
// times and addresses.
func TestStreamEqualsRecording(t *testing.T) {
	c := recordedCluster(t)
	s := subscribe(t, c.MasterURL(), "application/json")
	s.has(t, "HEARTBEAT")
	play(t, c)
	s.has(t, "AGENT_ADDED", "reregistered_time")

	want := bySubject(t, records(readFile(t, "testdata/recorded/subscribe.json.body")))
	got := bySubject(t, s.records())
	for subject := range want {
		if _, ok := got[subject]; !ok && strings.HasPrefix(subject, "task slow") || strings.HasPrefix(subject, "task err") || strings.HasPrefix(subject, "task del") {
			delete(want, subject) // scenario 3 needs a plugin: TestPluginFailures
		}
	}
	for _, subject := range union(want, got) {
		compare(t, subject, want[subject], got[subject])
	}
}

func compare(t *testing.T, subject string, want, got []string) {
	t.Helper()
	for i := range max(len(want), len(got)) {
		w, g := "nothing", "nothing"
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Errorf("%s, record %d\nrecorded  %s\nsimulated %s", subject, i, w, g)
			return
		}
	}
}

func union(a, b map[string][]string) []string {
	var out []string
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// bySubject normalises records and groups them by what they are about.
func bySubject(t *testing.T, list [][]byte) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	names := map[string]string{} // framework id → fw1, …
	for _, r := range list {
		var e map[string]any
		if err := json.Unmarshal(r, &e); err != nil {
			t.Fatalf("record %s: %v", r, err)
		}
		if e["type"] == "HEARTBEAT" {
			continue
		}
		subject := "stream"
		framework := ""
		switch e["type"] {
		case "TASK_ADDED":
			subject = "task " + value(dig(e, "task_added", "task", "task_id"))
			framework = value(dig(e, "task_added", "task", "framework_id"))
		case "TASK_UPDATED":
			subject = "task " + value(dig(e, "task_updated", "status", "task_id"))
			framework = value(dig(e, "task_updated", "framework_id"))
		case "AGENT_ADDED":
			subject = "agent"
		case "FRAMEWORK_ADDED", "FRAMEWORK_UPDATED", "FRAMEWORK_REMOVED":
			subject = "framework"
		}
		if framework != "" {
			if names[framework] == "" {
				names[framework] = fmt.Sprintf(" of fw%d", len(names)+1)
			}
			subject += names[framework]
		}
		out[subject] = append(out[subject], normal(r))
	}
	return out
}

var normalisers = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"timestamp":[0-9.]+`), `"timestamp":T`},
	{regexp.MustCompile(`"nanoseconds":[1-9][0-9]*`), `"nanoseconds":N`},
	{regexp.MustCompile(`"(status_update_)?uuid":"[^"]+"`), `"${1}uuid":"U"`},
	{regexp.MustCompile(`"executor_pid":[0-9]+`), `"executor_pid":P`},
	{regexp.MustCompile(`"ip_address":"10\.[^"]*"`), `"ip_address":"IP"`},
}

// normal takes out of a record what differs from run to run. The addresses of
// a nested container's TASK_STARTING are a race in Mesos itself: the recorded
// ones differ between two tasks of one group.
func normal(r []byte) string {
	s := string(r)
	for _, n := range normalisers {
		s = n.from.ReplaceAllString(s, n.to)
	}
	if strings.Contains(s, `"parent"`) && strings.Contains(s, `"state":"TASK_STARTING"}}`) {
		s = regexp.MustCompile(`,"network_infos":\[.*?\]\}\}\]`).ReplaceAllString(s, "")
	}
	return s
}

// TestProtobufStreamEqualsJSON: both encodings of one run say the same.
func TestProtobufStreamEqualsJSON(t *testing.T) {
	c := recordedCluster(t)
	j := subscribe(t, c.MasterURL(), "application/json")
	p := subscribe(t, c.MasterURL(), "application/x-protobuf")
	play(t, c)
	j.has(t, "AGENT_ADDED", "reregistered_time")
	// A protobuf record, decoded by mesos-go and printed, is the JSON record.
	var fromJSON, fromProto []string
	eventually(t, "as many events on both streams", func() bool {
		fromJSON, fromProto = nil, nil
		for _, r := range j.records()[1:] {
			fromJSON = append(fromJSON, string(r))
		}
		for _, r := range p.records()[1:] {
			var e mesosmaster.Event
			if err := e.Unmarshal(r); err != nil {
				t.Fatalf("record %q: %v", r, err)
			}
			fromProto = append(fromProto, string(wire.JSON(&e)))
		}
		return len(fromJSON) == len(fromProto)
	})
	compare(t, "stream", fromJSON, fromProto)

	// The same holds for the recording itself.
	want := bySubject(t, records(readFile(t, "testdata/recorded/subscribe.json.body"))[1:])
	var printed [][]byte
	for _, r := range records(readFile(t, "testdata/recorded/subscribe.pb.body"))[1:] {
		var e mesosmaster.Event
		if err := e.Unmarshal(r); err != nil {
			t.Fatalf("recorded record: %v", err)
		}
		printed = append(printed, wire.JSON(&e))
	}
	got := bySubject(t, printed)
	for _, subject := range union(want, got) {
		compare(t, subject, want[subject], got[subject])
	}
}
