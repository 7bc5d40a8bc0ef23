package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/taskwall/taskwall/e2e/sim/marathon"
)

// Task is the truth about one task: what really runs, not what was reported.
type Task struct {
	ID        string
	Framework string
	Executor  string
	App       string // of Marathon: "/shop/web"; "" for others
	Name      string
	State     string // TASK_…
	Host      string
	Agent     string // Mesos agent id
	Container string
	Address   string // the first of Addresses, "" for the host's network
	Addresses []string
	Netns     string // path of its network namespace, "" on paper
	Pid       int
	Labels    map[string]string // the task's; for a pod also the executor's
}

// Tasks are all tasks that have not ended, on all hosts, reachable or not.
func (c *Cluster) Tasks() []Task {
	var out []Task
	for _, h := range c.hosts {
		for _, v := range h.Agent.Tasks() {
			t := Task{
				ID: v.ID, Framework: v.Framework, Executor: v.Executor, Name: v.Name, State: v.State.String(),
				Host: h.Name, Agent: h.Agent.ID(), Container: v.Container, Addresses: v.Addresses,
				Netns: v.Netns, Pid: v.Pid, Labels: v.Labels,
			}
			for k, l := range v.ExecutorLabels {
				if _, own := t.Labels[k]; !own {
					t.Labels[k] = l
				}
			}
			if len(v.Addresses) > 0 {
				t.Address = v.Addresses[0]
			}
			if strings.Contains(v.ID, ".instance-") || c.cfg.LegacyTaskIDs {
				t.App = marathon.AppOf(v.ID)
			}
			out = append(out, t)
		}
	}
	return out
}

// TasksOf are an app's tasks.
func (c *Cluster) TasksOf(app string) []Task {
	var out []Task
	for _, t := range c.Tasks() {
		if t.App == app {
			out = append(out, t)
		}
	}
	return out
}

// WaitRunning waits until an app has exactly n tasks that have not ended, all
// of them running, and returns them.
func (c *Cluster) WaitRunning(ctx context.Context, app string, n int) ([]Task, error) {
	var got []Task
	err := c.Eventually(ctx, func() bool {
		got = c.TasksOf(app)
		for _, t := range got {
			if t.State != "TASK_RUNNING" {
				return false
			}
		}
		return len(got) == n
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for %d running tasks of %s, have %d %v: %w", n, app, len(got), states(got), err)
	}
	return got, nil
}

func states(tasks []Task) []string {
	var out []string
	for _, t := range tasks {
		out = append(out, t.State)
	}
	return out
}

// Eventually asks every few milliseconds, more rarely when f is slow, until f
// is true or the context ends.
func (c *Cluster) Eventually(ctx context.Context, f func() bool) error {
	for {
		start := time.Now()
		if f() {
			return nil
		}
		pause := time.NewTimer(5*time.Millisecond + 4*time.Since(start))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (c *Cluster) waitRegistered(ctx context.Context) error {
	return c.Eventually(ctx, func() bool {
		for _, h := range c.hosts {
			if h.Agent.ID() == "" {
				return false
			}
		}
		return c.Marathon == nil || c.Marathon.FrameworkID() != ""
	})
}

// Settle waits until Marathon has no deployment under way and nothing in its
// launch queue.
func (c *Cluster) Settle(ctx context.Context) error {
	return c.Eventually(ctx, c.Marathon.Idle)
}

// CreateApp creates an app from its JSON.
func (c *Cluster) CreateApp(ctx context.Context, spec string) error {
	return c.rest(ctx, http.MethodPost, "/v2/apps", spec, nil)
}

// CreatePod creates a pod from its JSON.
func (c *Cluster) CreatePod(ctx context.Context, spec string) error {
	return c.rest(ctx, http.MethodPost, "/v2/pods", spec, nil)
}

// UpdateApp changes an app by partial JSON: scale, labels, …
func (c *Cluster) UpdateApp(ctx context.Context, id, change string) error {
	return c.rest(ctx, http.MethodPut, "/v2/apps"+id+"?force=true", change, nil)
}

// DeleteApp deletes an app.
func (c *Cluster) DeleteApp(ctx context.Context, id string) error {
	return c.rest(ctx, http.MethodDelete, "/v2/apps"+id+"?force=true", "", nil)
}

// DeletePod deletes a pod.
func (c *Cluster) DeletePod(ctx context.Context, id string) error {
	return c.rest(ctx, http.MethodDelete, "/v2/pods"+id+"?force=true", "", nil)
}

// Get reads a path of Marathon's REST into a value.
func (c *Cluster) Get(ctx context.Context, path string, into any) error {
	return c.rest(ctx, http.MethodGet, path, "", into)
}

// Rollback undoes a deployment by another.
func (c *Cluster) Rollback(ctx context.Context, deployment string) error {
	return c.rest(ctx, http.MethodDelete, "/v2/deployments/"+deployment, "", nil)
}

func (c *Cluster) rest(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.MarathonURL()+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for user, password := range c.cfg.MarathonUsers {
		req.SetBasicAuth(user, password)
		break
	}
	client := c.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("marathon: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("marathon: %s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("marathon: %s %s: %s: %s", method, path, resp.Status, answer)
	}
	if into != nil {
		return json.Unmarshal(answer, into)
	}
	return nil
}

// Put sends a body to a path of Marathon's REST.
func (c *Cluster) Put(ctx context.Context, path, body string) error {
	return c.rest(ctx, http.MethodPut, path, body, nil)
}
