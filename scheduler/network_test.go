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
