package sim_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestHealthGatesADeployment: with a check that Mesos makes, a task counts when
// it is healthy, of which there are events.
func TestHealthGatesADeployment(t *testing.T) {
	c := startReal(t, "twsn")
	ctx := testContext(t)
	app := strings.Replace(webApp, `"labels"`, `"healthChecks":[{"protocol":"MESOS_TCP","port":8080,"intervalSeconds":0.05,"delaySeconds":0.01,"timeoutSeconds":1}],"labels"`, 1)
	if err := c.CreateApp(ctx, app); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	healthy := 0
	for _, e := range c.Marathon.Published() {
		if e.Type == "instance_health_changed_event" && strings.Contains(string(e.Data), `"healthy":true`) {
			healthy++
		}
		if e.Type == "deployment_success" && healthy != 2 {
			t.Errorf("the deployment succeeded with %d healthy instances", healthy)
		}
	}
	var got struct{ App struct{ TasksHealthy int } }
	if err := c.Get(ctx, "/v2/apps/shop/web", &got); err != nil || got.App.TasksHealthy != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMarathonsOwnChecks: checks that the leader makes gate a deployment too,
// each result that changes is told, and who fails too often is killed.
func TestMarathonsOwnChecks(t *testing.T) {
	c := startReal(t, "twso")
	ctx := testContext(t)
	const check = `"healthChecks":[{"protocol":"TCP","portIndex":0,"gracePeriodSeconds":%s,"intervalSeconds":0.05,"delaySeconds":0.01,"timeoutSeconds":1,"maxConsecutiveFailures":2}]`
	app := func(id, cmd, grace string) string {
		return `{"id":"` + id + `","cmd":"` + cmd + `","instances":1,"cpus":0.1,"mem":32,` + strings.Replace(check, "%s", grace, 1) + `}`
	}
	// It listens on the port that it was given, on the host.
	if err := c.CreateApp(ctx, app("/well", "exec peer --tcp $PORT0", "30")); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	var got struct {
		App struct {
			TasksHealthy int
			Tasks        []struct {
				HealthCheckResults []struct {
					Alive        bool
					FirstSuccess string
				}
			}
		}
	}
	if err := c.Get(ctx, "/v2/apps/well", &got); err != nil || got.App.TasksHealthy != 1 || !got.App.Tasks[0].HealthCheckResults[0].Alive || got.App.Tasks[0].HealthCheckResults[0].FirstSuccess == "" {
		t.Errorf("%+v, %v", got, err)
	}
	order := kindsOf(c, "/well", "add_health_check_event", "health_status_changed_event", "instance_health_changed_event", "deployment_success")
	if want := "add_health_check_event health_status_changed_event instance_health_changed_event deployment_success"; order != want {
		t.Errorf("events %q, want %q", order, want)
	}

	// Nothing listens: two failures, a kill, and the next incarnation.
	if err := c.CreateApp(ctx, app("/ill", "exec sleep 1000", "0.001")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		return strings.Contains(kindsOf(c, "/ill", "failed_health_check_event", "unhealthy_instance_kill_event"),
			"failed_health_check_event failed_health_check_event unhealthy_instance_kill_event")
	})
	until(t, func() bool {
		tasks := c.TasksOf("/ill")
		return len(tasks) == 1 && !strings.HasSuffix(tasks[0].ID, "._app.1")
	})
	if err := c.DeleteApp(ctx, "/well"); err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(c, "/well", "remove_health_check_event"); got != "remove_health_check_event" {
		t.Errorf("events %q", got)
	}
}

// kindsOf are the kinds of an app's events among some, in order.
func kindsOf(c *realCluster, app string, kinds ...string) string {
	var out []string
	for _, e := range c.Marathon.Published() {
		if slices.Contains(kinds, e.Type) && strings.Contains(string(e.Data), `"`+app+`"`) {
			out = append(out, e.Type)
		}
	}
	return strings.Join(out, " ")
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 30 s")
		}
	}
}
