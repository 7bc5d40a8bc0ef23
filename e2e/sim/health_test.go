package sim_test

import (
	"strings"
	"testing"
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
