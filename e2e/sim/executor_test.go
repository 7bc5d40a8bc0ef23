package sim_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/sim"
)

// TestExecutorNeedsItsAgent: the executor lives in the task's namespace. A
// firewall between it and the Mesos agent, in either direction, makes the task
// fail, as with a real agent.
func TestExecutorNeedsItsAgent(t *testing.T) {
	for _, tt := range []struct {
		name, prefix string
		dialBack     bool
		rule         []string // on the host, beside the plugin's wiring
		works        bool
	}{
		{"open", "twsg", true, nil, true},
		{"agent closed to executors", "twsh", false, []string{"-A", "INPUT", "-p", "tcp", "--dport", "5051", "-s", "10.77.0.0/16", "-j", "DROP"}, false},
		{"executors closed to the agent", "twsi", true, []string{"-A", "OUTPUT", "-p", "tcp", "-d", "10.77.0.0/16", "--syn", "-j", "DROP"}, false},
		{"the latter without dialing back", "twsj", false, []string{"-A", "OUTPUT", "-p", "tcp", "-d", "10.77.0.0/16", "--syn", "-j", "DROP"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timeout := 300 * time.Millisecond
			if tt.works {
				timeout = time.Minute
			}
			c := startReal(t, tt.prefix, func(cfg *sim.Config) {
				cfg.DialBack, cfg.RegistrationTimeout, cfg.Backoff = tt.dialBack, timeout, time.Hour
			})
			ctx := testContext(t)
			for _, host := range []string{"h1", "h2"} {
				if tt.rule != nil {
					if err := c.Host(host).NS.Command(ctx, "iptables", append([]string{"-w"}, tt.rule...)...).Run(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := c.CreateApp(ctx, webApp); err != nil {
				t.Fatal(err)
			}
			if tt.works {
				if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil {
					t.Fatal(err)
				}
				return
			}
			var message string
			err := c.Eventually(ctx, func() bool {
				for _, e := range c.Marathon.Published() {
					var got struct{ TaskStatus, Message string }
					if e.Type == "status_update_event" && unmarshal(e.Data, &got) && got.TaskStatus == "TASK_FAILED" {
						message = got.Message
					}
				}
				return message != ""
			})
			if err != nil || message != "Executor did not register within 1mins" {
				t.Errorf("%v: %q", err, message)
			}
		})
	}
}

// TestSlowAttach: a plugin that hangs holds up its own tasks only.
func TestSlowAttach(t *testing.T) {
	c := startReal(t, "twsk")
	ctx := testContext(t)
	hang := func(host string, on bool) { order(t, c.logs[host]+"/hang-ADD", on) }
	hang("h1", true)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	err := c.Eventually(ctx, func() bool {
		return stateOf(c.Cluster, "h1") == "TASK_STAGING" && stateOf(c.Cluster, "h2") == "TASK_RUNNING"
	})
	if err != nil {
		t.Errorf("h1 %s, h2 %s", stateOf(c.Cluster, "h1"), stateOf(c.Cluster, "h2"))
	}
	hang("h1", false)
	if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil {
		t.Error(err)
	}
}

func stateOf(c *sim.Cluster, host string) string {
	for _, task := range c.Tasks() {
		if task.Host == host {
			return task.State
		}
	}
	return ""
}

func unmarshal(b []byte, into any) bool { return json.Unmarshal(b, into) == nil }

// order leaves a file for the plugin to find, or takes it away.
func order(t *testing.T, path string, on bool) {
	t.Helper()
	err := os.Remove(path)
	if on {
		err = os.WriteFile(path, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
