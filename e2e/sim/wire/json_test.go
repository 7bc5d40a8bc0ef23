package wire_test

import (
	"encoding/json"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/agent"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim/wire"
)

func ptr[T any](v T) *T { return &v }

// TestJSON: the habits of Mesos' JSON, each as a recording shows it.
func TestJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"empty lists that are listed", &master.Response_GetTasks{}, `{"tasks":[],"unreachable_tasks":[],"completed_tasks":[]}`},
		{"an agent's lists", &agent.Response_GetTasks{}, `{"pending_tasks":[],"queued_tasks":[],"launched_tasks":[],"terminated_tasks":[],"completed_tasks":[]}`},
		{"an empty list that is not", &mesos.Labels{}, `{}`},
		{"a label without a value", &mesos.Label{Key: "k"}, `{"key":"k"}`},
		{"defaults of unset fields, none for a resource's role", &mesos.FrameworkInfo{User: "u", Name: "n"}, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}`},
		{"a default enum", &mesos.NetworkInfo_IPAddress{IPAddress: ptr("10.0.0.1")}, `{"protocol":"IPv4","ip_address":"10.0.0.1"}`},
		{"bytes, floats and enums", &mesos.TaskStatus{TaskID: mesos.TaskID{Value: "t"}, State: mesos.TASK_RUNNING.Enum(), UUID: []byte{0, 255}, Timestamp: ptr(1795395612.312985)},
			`{"task_id":{"value":"t"},"state":"TASK_RUNNING","timestamp":1795395612.312985,"uuid":"AP8="}`},
		{"a whole number", &mesos.Value_Scalar{Value: 4}, `{"value":4.0}`},
		{"an enum that mesos-go does not know", &mesos.MasterInfo_Capability{Type: 3}, `{"type":"QUOTA_V2"}`},
		{"text is not escaped for HTML", &mesos.TaskID{Value: `a<b>&"c"/`}, `{"value":"a<b>&\"c\"/"}`},
	} {
		got := string(wire.JSON(tt.in))
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: %s is no JSON", tt.name, got)
		}
	}
}

func TestPrinterAddsMembers(t *testing.T) {
	p := wire.Printer{Extra: func(m any) string {
		if _, ok := m.(*mesos.AgentInfo); ok {
			return `"checkpoint":true`
		}
		return ""
	}}
	got := string(p.JSON(&master.Response_GetAgents{RecoveredAgents: []mesos.AgentInfo{{Hostname: "h"}}}))
	if want := `{"agents":[],"recovered_agents":[{"hostname":"h","port":5051,"checkpoint":true}]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
