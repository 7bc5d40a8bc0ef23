package scheduler

import (
	"testing"

	"github.com/taskwall/taskwall/events"
)

// A Docker task is ours when a label asks for one of our networks: what Docker's
// own networks are called says nothing.
func TestDockerTaskAsksByLabel(t *testing.T) {
	w := threeHosts(t)
	for id, network := range map[string]string{"yes": "taskwall", "other": "bridge", "none": ""} {
		tk := task(id, "h1", "TASK_STAGING")
		tk.Containerizer, tk.Networks = "docker", []events.Network{{Name: "taskwall"}}
		if network != "" {
			tk.Labels["taskwall.network"] = network
		}
		w.say(events.Event{Kind: events.TaskPut, Task: tk})
	}
	if len(w.hosts["h1"].Endpoints) != 1 {
		t.Fatalf("endpoints: %+v", w.hosts["h1"].Endpoints)
	}
	if ep := w.endpoint("h1", "yes"); !ep.Docker || ep.Network != "taskwall" || !ep.Address.IsValid() {
		t.Errorf("%+v", ep)
	}
	var again State
	if err := again.UnmarshalJSON([]byte(mustJSON(t, w.state))); err != nil {
		t.Fatal(err)
	}
	if e := again.endpoints["fw/yes"]; e == nil || !e.docker {
		t.Errorf("after a snapshot: %+v", e)
	}
}

// A task on several of our networks has an endpoint and an address on each; the
// first is named like the task.
func TestSeveralNetworks(t *testing.T) {
	w := threeHosts(t)
	w.say(events.Event{Kind: events.SettingsPut, Settings: func() *events.Settings {
		s := w.state.Settings()
		s.Networks = []string{"taskwall", "dmz"}
		return &s
	}()})
	tk := task("multi", "h1", "TASK_STAGING")
	tk.Networks = []events.Network{{Name: "bridge"}, {Name: "dmz"}, {Name: "taskwall"}}
	w.say(events.Event{Kind: events.TaskPut, Task: tk})
	first, second := w.endpoint("h1", "multi"), w.endpoint("h1", "multi/taskwall")
	if first.Network != "dmz" || second.Network != "taskwall" || !first.Address.IsValid() || !second.Address.IsValid() || first.Address == second.Address {
		t.Errorf("%+v, %+v", first, second)
	}
	var again State
	if err := again.UnmarshalJSON([]byte(mustJSON(t, w.state))); err != nil {
		t.Fatal(err)
	}
	w.state = &again
	ended := *tk
	ended.State = "TASK_KILLED"
	w.say(events.Event{Kind: events.TaskPut, Task: &ended})
	if left := w.hosts["h1"].Endpoints; len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	for _, id := range []string{"multi", "multi/taskwall"} {
		w.detached("h1", id)
	}
	for _, p := range w.state.View().Pools {
		if p.Used != 0 {
			t.Errorf("addresses are in use: %+v", p)
		}
	}
}
