package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim"
)

const placedPrefix = "twplc"

// TestPlacedAgents: the controller has Mesos start the agents, which then wire
// tasks; one that is killed comes back, and the task it wired stays.
func TestPlacedAgents(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	d, err := deploy.New(deploy.Options{Prefix: placedPrefix, Bin: binaries}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Strike(); err != nil {
			t.Errorf("ending: %v", err)
		}
		if left := netns.Leftovers(placedPrefix); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	policies := filepath.Join(d.Dir, "policies.yaml")
	must(os.WriteFile(policies, []byte(`apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: tasks}
spec: {cidr: 10.8.0.0/24, blockSize: 26}
`), 0o600))
	must(d.StartCluster(ctx, []sim.Host{{Name: "h1", Address: "192.168.50.11/24"}, {Name: "h2", Address: "192.168.50.12/24"}}))
	d.Controlling = []string{"--place-command", fmt.Sprintf("case $MESOS_AGENT_ENDPOINT in 192.168.50.11:*) %s;; *) %s;; esac", d.AgentCommand("h1"), d.AgentCommand("h2"))}
	must(d.StartController(ctx, "h1", "h2"))
	must(d.WaitReady(ctx, 2))
	_, err = d.Taskwall(ctx, "policy", "apply", "-f", policies, "--author", "ann", "--commit", "4f2c9e1")
	must(err)
	must(d.Cluster.CreateApp(ctx, `{"id":"/web","instances":2,"cpus":0.1,"mem":32,"cmd":"exec sleep 1000","networks":[{"mode":"container","name":"taskwall"}],"constraints":[["hostname","UNIQUE"]]}`))
	tasks, err := d.WaitAttached(ctx, "/web", 2)
	must(err)

	status, err := d.Taskwall(ctx, "status")
	must(err)
	if !strings.Contains(status, "; agents run on 2 of 2 hosts.\n") {
		t.Errorf("status says\n%s", status)
	}
	agentOn := func(host string) (id string) {
		for _, task := range d.Cluster.Tasks() {
			if task.Name == "taskwall-agent" && task.Host == host && task.State == "TASK_RUNNING" {
				id = task.ID
			}
		}
		return id
	}
	first := agentOn("h1")
	if first == "" || first == agentOn("h2") {
		t.Fatalf("tasks %v", d.Cluster.Tasks())
	}
	must(d.Cluster.Host("h1").Agent.Exit(first, 1))
	must(d.Until(ctx, "another agent on h1", func() (bool, error) {
		now := agentOn("h1")
		return now != "" && now != first, nil
	}))
	must(d.WaitReady(ctx, 2))
	again, err := d.WaitAttached(ctx, "/web", 2)
	must(err)
	for i := range tasks {
		if again[i].ID != tasks[i].ID || again[i].Address != tasks[i].Address {
			t.Errorf("task %v became %v", tasks[i], again[i])
		}
	}
}
