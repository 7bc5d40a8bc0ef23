package sim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// withID is a SUBSCRIBE of a framework that knows its id.
func withID(call, id string) string {
	call = strings.Replace(call, `"name"`, fmt.Sprintf(`"id":{"value":%q},"name"`, id), 1)
	return strings.Replace(call, `"subscribe"`, fmt.Sprintf(`"framework_id":{"value":%q},"subscribe"`, id), 1)
}

func compareStream(t *testing.T, recording string, got [][]byte) {
	t.Helper()
	a := bySubject(t, records(readFile(t, "testdata/recorded/"+recording)))
	b := bySubject(t, got)
	for _, subject := range union(a, b) {
		compare(t, subject, a[subject], b[subject])
	}
}

// TestRestartedMasterEqualsRecording: a new master knows of the agent only that
// it was admitted; the agent's return brings agent, framework and task, in this
// order; then the framework returns.
func TestRestartedMasterEqualsRecording(t *testing.T) {
	c := recordedCluster(t)
	agent := addRecordedAgent(t, c).Agent
	for range 2 { // the recorded framework is the third
		newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0")).resp.Body.Close()
	}
	fw := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "600.0"))
	fw.accept("fw3", "stay.3")
	fw.saw("stay.3", "TASK_RUNNING")
	id := fw.framework()
	// What is not acknowledged by now would come again, and stay in the task.
	eventually(t, "the acknowledgements", func() bool { return agent.Unacknowledged() == 0 })
	agent.Kill()
	if err := c.RestartMaster(); err != nil {
		t.Fatal(err)
	}
	s := subscribe(t, c.MasterURL(), "application/json")
	s.has(t, "SUBSCRIBED", "recovered_agents")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	s.has(t, "TASK_ADDED")
	again := newScheduler(t, c.MasterURL(), withID(fmt.Sprintf(subscribeCall, "600.0"), id))
	s.has(t, "FRAMEWORK_UPDATED")
	compareStream(t, "reconnect-json3.body", s.records())

	// What follows is the recording that begins with this state: another
	// framework comes and goes, the agent loses its id, is marked gone, comes
	// back, and an operator tears the framework down.
	s = subscribe(t, c.MasterURL(), "application/json")
	s.has(t, "HEARTBEAT")
	other := newScheduler(t, c.MasterURL(), `{"type":"SUBSCRIBE","subscribe":{"suppressed_roles":["*"],"framework_info":{"user":"root","name":"mesos-execute instance","failover_timeout":0.0,"checkpoint":false,"role":"*","capabilities":[{"type":"RESERVATION_REFINEMENT"},{"type":"TASK_KILLING_STATE"},{"type":"REVOCABLE_RESOURCES"},{"type":"PARTITION_AWARE"}]}}}`)
	other.resp.Body.Close()
	s.has(t, "FRAMEWORK_REMOVED", "mesos-execute")
	agent.Wipe()
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	again.saw("stay.3", "TASK_LOST", "a new agent registered at the same address")
	again.accept("fw3", "stay.4")
	again.saw("stay.4", "TASK_RUNNING")
	agentID := agent.ID()
	operate := func(call string) string {
		resp := post(t, c.MasterURL()+"/api/v1", call)
		b, _ := io.ReadAll(resp.Body)
		return resp.Status + string(b)
	}
	if got := operate(fmt.Sprintf(`{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":%q}}}`, agentID)); got != "200 OK" {
		t.Errorf("DEACTIVATE_AGENT: %s", got)
	}
	if got := operate(fmt.Sprintf(`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":%q}}}`, agentID)); got != "200 OK" {
		t.Errorf("MARK_AGENT_GONE: %s", got)
	}
	again.saw("stay.4", "TASK_GONE_BY_OPERATOR")
	eventually(t, "the agent to end", func() bool { return agent.ID() == "" })
	eventually(t, "the agent to start", func() bool { return agent.Start() == nil })
	eventually(t, "a new id", func() bool { return agent.ID() != "" && agent.ID() != agentID })
	again.accept("fw3", "stay.5")
	again.saw("stay.5", "TASK_RUNNING")
	if got := operate(fmt.Sprintf(`{"type":"TEARDOWN","teardown":{"framework_id":{"value":%q}}}`, again.framework())); got != "200 OK" {
		t.Errorf("TEARDOWN: %s", got)
	}
	s.has(t, "FRAMEWORK_REMOVED", "rec-framework")
	compareStream(t, "reconnect-json7.body", s.records())
}

// TestGetStateEqualsRecording: GET_STATE with two task groups running and three
// ended command tasks of a framework that is gone.
func TestGetStateEqualsRecording(t *testing.T) {
	c := recordedCluster(t)
	agent := addRecordedAgent(t, c).Agent
	fw1 := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0"))
	fw1.accept("fw1", "web.1")
	fw1.saw("web.1", "TASK_RUNNING", "HEALTH_CHECK")
	fw1.saw("finishing.1", "TASK_RUNNING")
	fw1.saw("failing.1", "TASK_RUNNING")
	for _, e := range []struct {
		task, state string
		code        int
	}{{"finishing.1", "TASK_FINISHED", 0}, {"failing.1", "TASK_FAILED", 3}} {
		if err := agent.Exit(e.task, e.code); err != nil {
			t.Fatal(err)
		}
		fw1.saw(e.task, e.state)
	}
	fw1.kill("web.1")
	fw1.saw("web.1", "TASK_KILLED")
	state := func(accept string) []byte {
		resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_STATE"}`, "Accept", accept)
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	eventually(t, "the acknowledgements", func() bool { return strings.Contains(string(state("*/*")), `"get_tasks":{"tasks":[],`) })
	fw1.call(fmt.Sprintf(`{"type":"TEARDOWN","framework_id":{"value":%q}}`, fw1.framework()))
	fw2 := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0"))
	fw2.accept("fw2", "g1")
	fw2.saw("g1", "TASK_RUNNING")
	fw2.saw("g2", "TASK_RUNNING")
	fw2.accept("fw2", "h1")
	fw2.saw("h1", "TASK_RUNNING")
	fw2.saw("h2", "TASK_RUNNING")

	want, got := parts(t, readFile(t, "testdata/recorded/groups-GET_STATE.json")), parts(t, state("application/json"))
	for _, part := range union(want, got) {
		compare(t, part, want[part], got[part])
	}
	// The protobuf answer lacks the tasks of completed frameworks: a bug of
	// Mesos that a client must live with.
	if b := string(state("application/x-protobuf")); strings.Contains(b, "finishing.1") || !strings.Contains(b, "grp2-exec") {
		t.Error("protobuf GET_STATE should have the running tasks and not those of completed frameworks")
	}
}

// parts takes GET_STATE apart into its lists, whose order is a hash map's.
func parts(t *testing.T, body []byte) map[string][]string {
	t.Helper()
	var state struct {
		GetState map[string]map[string][]json.RawMessage `json:"get_state"`
	}
	if err := json.Unmarshal(body, &state); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for call, lists := range state.GetState {
		for name, list := range lists {
			key := call + "." + name
			out[key] = []string{}
			for _, e := range list {
				s := normal(e)
				if strings.Contains(s, `"parent"`) { // see normal
					s = nestedStarting.ReplaceAllString(s, "$1")
				}
				s = offerIDs.ReplaceAllString(s, "UUID-O")
				out[key] = append(out[key], s)
			}
			slices.Sort(out[key])
		}
	}
	return out
}

var (
	// No G stands between STARTING and its parent: the match cannot run on into RUNNING.
	nestedStarting = regexp.MustCompile(`("state":"TASK_STARTING"[^\]G]*?"parent":\{"value":"UUID"\}\}),"network_infos":\[.*?\}\}\]`)
	offerIDs       = regexp.MustCompile(`UUID-O[0-9]+`)
)
