package sim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events"
)

// lines says in short what happened.
func lines(events []map[string]any) []string {
	var out []string
	for _, e := range events {
		line := strings.TrimSuffix(e["eventType"].(string), "_event")
		for _, k := range []string{"taskStatus", "condition", "groupId", "appId"} {
			if v, ok := e[k].(string); ok && !(k == "appId" && e["taskStatus"] != nil) {
				line += " " + v
			}
		}
		if s, ok := e["currentStep"]; ok {
			b, _ := json.Marshal(s)
			line += " " + string(b)
		}
		out = append(out, line)
	}
	return out
}

// TestEventsOfAnAppsLife: creation, a scale, a restart and deletion.
func TestEventsOfAnAppsLife(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	s := openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	one := strings.Replace(webApp, `"instances":2`, `"instances":1`, 1)
	if err := c.CreateApp(ctx, one); err != nil {
		t.Fatal(err)
	}
	// group_change_success and api_post_event come when the change is visible,
	// beside the launch.
	got := s.collect(isKind("deployment_success"))
	var main []map[string]any
	aside := map[string]bool{}
	for _, e := range got {
		switch e["eventType"] {
		case "group_change_success", "api_post_event":
			aside[e["eventType"].(string)] = true
		default:
			main = append(main, e)
		}
	}
	want := []string{
		`deployment_info {"actions":[{"action":"StartApplication","app":"/shop/web"}]}`,
		`deployment_step_success {"actions":[{"action":"StartApplication","app":"/shop/web"}]}`,
		`deployment_info {"actions":[{"action":"ScaleApplication","app":"/shop/web"}]}`,
		"instance_changed Scheduled", "instance_changed Provisioned",
		"status_update TASK_STARTING", "instance_changed Starting",
		"status_update TASK_RUNNING", "instance_changed Running",
		`deployment_step_success {"actions":[{"action":"ScaleApplication","app":"/shop/web"}]}`, "deployment_success",
	}
	if l := lines(main); !slices.Equal(l, want) || len(aside) != 2 {
		t.Errorf("creation %v\ngot  %s\nwant %s", aside, strings.Join(l, "\n     "), strings.Join(want, "\n     "))
	}
	scheduled, provisioned, starting := main[3], main[4], main[5]
	if v, ok := scheduled["agentId"]; !ok || v != nil || scheduled["host"] != nil || provisioned["agentId"] == nil || provisioned["host"] == nil {
		t.Errorf("scheduled %v, provisioned %v", scheduled, provisioned)
	}
	for _, k := range []string{"slaveId", "taskId", "taskStatus", "message", "appId", "host", "ipAddresses", "ports", "version"} {
		if _, ok := starting[k]; !ok {
			t.Errorf("status_update_event without %s: %v", k, starting)
		}
	}
	if !regexp.MustCompile(`^shop_web\.instance-[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\._app\.1$`).MatchString(starting["taskId"].(string)) {
		t.Errorf("task id %v", starting["taskId"])
	}
	if ips := starting["ipAddresses"].([]any); len(ips) != 1 || dig(ips[0], "protocol") != "IPv4" {
		t.Errorf("a UCR task's address is known at TASK_STARTING: %v", starting)
	}

	if err := c.DeleteApp(ctx, "/shop/web"); err != nil {
		t.Fatal(err)
	}
	got = s.collect(isKind("deployment_success"))
	if l := lines(got); !slices.Equal(l, []string{
		`deployment_info {"actions":[{"action":"StopApplication","app":"/shop/web"}]}`,
		"instance_changed Running", // the goal changed
		"group_change_success /shop",
		"status_update TASK_KILLED", "instance_changed Killed", "app_terminated /shop/web",
		`deployment_step_success {"actions":[{"action":"StopApplication","app":"/shop/web"}]}`, "deployment_success",
	}) {
		t.Errorf("deletion\ngot  %s", strings.Join(l, "\n     "))
	}
}

func TestEventFilter(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	s := openEvents(t, c.MarathonURL(), "?event_type=status_update_event&event_type=event_stream_attached&event_type=nonsense")
	if kind, _ := s.next(); kind != "event_stream_attached" {
		t.Fatal(kind)
	}
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if kind, _ := s.next(); kind != "status_update_event" {
			t.Errorf("got a %s", kind)
		}
	}
}

// TestFailedTaskStartsAgain: the same instance, the next incarnation.
func TestFailedTaskStartsAgain(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, strings.Replace(webApp, `"instances":2`, `"instances":1`, 1)); err != nil {
		t.Fatal(err)
	}
	tasks, err := c.WaitRunning(ctx, "/shop/web", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s := openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	if err := c.Host(tasks[0].Host).Agent.Exit(tasks[0].ID, 1); err != nil {
		t.Fatal(err)
	}
	got := s.collect(func(_ string, e map[string]any) bool { return e["condition"] == "Running" })
	want := []string{"status_update TASK_FAILED", "instance_changed Failed", "instance_changed Scheduled", "instance_changed Provisioned",
		"status_update TASK_STARTING", "instance_changed Starting", "status_update TASK_RUNNING", "instance_changed Running"}
	if l := lines(got); !slices.Equal(l, want) {
		t.Errorf("got  %s", strings.Join(l, "\n     "))
	}
	if got[0]["message"] != "Command exited with status 1" || len(got[0]["ipAddresses"].([]any)) != 1 {
		t.Errorf("the terminal event keeps the address: %v", got[0])
	}
	if id := c.Tasks()[0].ID; id != strings.TrimSuffix(tasks[0].ID, "1")+"2" {
		t.Errorf("%s follows %s", id, tasks[0].ID)
	}
}

// TestRollingRestart: old and new tasks coexist, and the running ones are never
// fewer than the minimum.
func TestRollingRestart(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	app := strings.Replace(webApp, `"labels":{"tier":"web"}`, `"labels":{"tier":"web"},"upgradeStrategy":{"minimumHealthCapacity":0.5,"maximumOverCapacity":0.5}`, 1)
	if err := c.CreateApp(ctx, strings.Replace(app, `"instances":2`, `"instances":4`, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 4); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s := openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	if err := c.UpdateApp(ctx, "/shop/web", `{"labels":{"tier":"cache"}}`); err != nil {
		t.Fatal(err)
	}
	got := s.collect(isKind("deployment_success"))
	running, most, least := 4, 4, 4
	for _, e := range got {
		switch e["condition"] {
		case "Running":
			if !wasRunning(got, e) {
				running++
			}
		case "Killed":
			running--
		}
		most, least = max(most, running), min(least, running)
	}
	if least < 2 || most > 6 || running != 4 {
		t.Errorf("between %d and %d tasks ran, %d at the end", least, most, running)
	}
	for _, task := range c.TasksOf("/shop/web") {
		if task.Labels["tier"] != "cache" {
			t.Errorf("%+v", task)
		}
	}
	var versions struct{ Versions []string }
	if err := c.Get(ctx, "/v2/apps/shop/web/versions", &versions); err != nil || len(versions.Versions) != 2 {
		t.Fatal(versions, err)
	}
	var old struct{ Labels map[string]string }
	if err := c.Get(ctx, "/v2/apps/shop/web/versions/"+versions.Versions[1], &old); err != nil || old.Labels["tier"] != "web" {
		t.Errorf("the first version: %v %v", old, err)
	}
}

// wasRunning reports whether an instance_changed Running only tells of a new
// goal.
func wasRunning(events []map[string]any, e map[string]any) bool {
	for _, o := range events {
		if o["instanceId"] == e["instanceId"] && o["condition"] == "Scheduled" {
			return false
		}
	}
	return true
}

// TestUnreachableInstances: with the default strategy the instance is replaced
// and forgotten at once, and killed as unknown when it comes back; with
// patience it simply returns.
func TestUnreachableInstances(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	one := strings.Replace(webApp, `"instances":2`, `"instances":1,"constraints":[["hostname","CLUSTER","h1"]]`, 1)
	patient := strings.Replace(strings.Replace(one, "/shop/web", "/shop/db", 1), `"labels"`, `"unreachableStrategy":{"inactiveAfterSeconds":300,"expungeAfterSeconds":600},"labels"`, 1)
	for _, app := range []string{one, patient} {
		if err := c.CreateApp(ctx, app); err != nil {
			t.Fatal(err)
		}
	}
	for _, app := range []string{"/shop/web", "/shop/db"} {
		if _, err := c.WaitRunning(ctx, app, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s := openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	c.Unreachable("h1")
	var web, db []string
	for len(web) < 4 || len(db) < 2 {
		kind, e := s.next()
		switch id := fmt.Sprint(e["runSpecId"], e["appId"]); {
		case kind == "":
			t.Fatal("the stream ended")
		case strings.Contains(id, "/shop/web"):
			web = append(web, lines([]map[string]any{e})...)
		case strings.Contains(id, "/shop/db"):
			db = append(db, lines([]map[string]any{e})...)
			if e["taskStatus"] == "TASK_UNREACHABLE" && len(e["ipAddresses"].([]any)) != 0 {
				t.Errorf("TASK_UNREACHABLE empties the addresses: %v", e)
			}
		}
	}
	if want := []string{"status_update TASK_UNREACHABLE", "instance_changed Unreachable", "instance_changed UnreachableInactive", "instance_changed Scheduled"}; !slices.Equal(web, want) {
		t.Errorf("default strategy: %v", web)
	}
	if want := []string{"status_update TASK_UNREACHABLE", "instance_changed Unreachable"}; !slices.Equal(db, want) {
		t.Errorf("patient strategy: %v", db)
	}
	if agents := c.Master().Get(mesosmaster.Call_GET_AGENTS, true).GetAgents; len(agents.Agents) != 1 || len(agents.RecoveredAgents) != 0 {
		t.Errorf("agents %v", agents)
	}
	c.Reachable("h1")
	back, unknown := false, false
	for !back || !unknown {
		switch kind, e := s.next(); kind {
		case "":
			t.Fatal("the stream ended")
		case "unknown_instance_terminated_event":
			unknown = e["condition"] == "Killed" && e["runSpecId"] == "/shop/web"
		case "status_update_event":
			if e["appId"] == "/shop/db" && e["taskStatus"] == "TASK_RUNNING" {
				back = len(e["ipAddresses"].([]any)) == 1
			}
		}
	}
}

// TestPods: ids, labels and networks as Mesos sees them, and the pod's status.
func TestPods(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreatePod(ctx, `{"id":"/shop/pod","labels":{"tier":"db"},"networks":[{"mode":"container","name":"taskwall","labels":{"net":"blue"}}],
		"scaling":{"kind":"fixed","instances":1},
		"containers":[
			{"name":"db","exec":{"command":{"shell":"sleep 1000"}},"resources":{"cpus":0.1,"mem":32},"labels":{"part":"db"},"endpoints":[{"name":"sql","containerPort":5432,"protocol":["tcp"]}]},
			{"name":"side","exec":{"command":{"shell":"sleep 1000"}},"resources":{"cpus":0.1,"mem":32}}]}`); err != nil {
		t.Fatal(err)
	}
	tasks, err := c.WaitRunning(ctx, "/shop/pod", 2)
	if err != nil {
		t.Fatal(err)
	}
	instance := strings.TrimSuffix(tasks[0].ID, ".db.1")
	uuid := strings.TrimPrefix(instance, "shop_pod.instance-")
	if tasks[1].ID != instance+".side.1" || tasks[0].Executor != "instance-shop_pod."+uuid || tasks[0].Executor != tasks[1].Executor || tasks[0].Address != tasks[1].Address {
		t.Errorf("tasks %+v", tasks)
	}
	state := c.Master().Get(mesosmaster.Call_GET_STATE, true).GetState
	executor := state.GetExecutors.Executors[0].ExecutorInfo
	if executor.Labels.Labels[0].Key != "tier" || executor.Container.NetworkInfos[0].Labels.Labels[0].Key != "net" || len(executor.Container.NetworkInfos[0].IPAddresses) != 0 {
		t.Errorf("executor %v", executor)
	}
	var status struct {
		Status    string
		Instances []struct {
			ID, Status string
			Networks   []struct {
				Name      string
				Addresses []string
			}
			Containers    []struct{ Name, Status, ContainerID string }
			SpecReference string
		}
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "/v2/pods/shop/pod::status", &status); err != nil {
		t.Fatal(err)
	}
	if status.Status != "STABLE" || len(status.Instances) != 1 || status.Instances[0].ID != instance || status.Instances[0].Networks[0].Name != "taskwall" ||
		status.Instances[0].Networks[0].Addresses[0] != tasks[0].Address || status.Instances[0].Containers[0].ContainerID != tasks[0].ID {
		t.Errorf("status %+v", status)
	}
	var all struct{ Tasks []any }
	if err := c.Get(ctx, "/v2/tasks", &all); err != nil || len(all.Tasks) != 0 {
		t.Errorf("/v2/tasks has no pods: %v %v", all, err)
	}
	var spec struct{ Labels map[string]string }
	if err := c.Get(ctx, status.Instances[0].SpecReference, &spec); err != nil || spec.Labels["tier"] != "db" {
		t.Errorf("%v %v", spec, err)
	}
	if err := c.DeletePod(ctx, "/shop/pod"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/pod", 0); err != nil {
		t.Fatal(err)
	}
}

// TestRESTErrors: what Marathon says to bad requests.
func TestRESTErrors(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/v2/apps/none", "", `404 {"message":"App '/none' does not exist"}`},
		{"POST", "/v2/apps", webApp, `409 {"message":"An app with id [/shop/web] already exists."}`},
		{"POST", "/v2/apps", `{"id":"/Bad_Name","cmd":"x"}`, `422 {"details":[{"errors":["must fully match`},
		{"POST", "/v2/apps", `{"id":"/x"}`, `422 {"details"`},
		{"POST", "/v2/apps", `{`, `400 {"details"`},
		{"POST", "/v2/apps", `{"id":"/mix","cmd":"x","networks":[{"mode":"host"},{"mode":"container","name":"a"}]}`, `422 `},
		{"GET", "/v2/groups/none", "", `404 {"message":"Group '/none' does not exist"}`},
		{"GET", "/v2/pods/none", "", `404 {"message":"Pod '/none' does not exist"}`},
		{"GET", "/v2/eventSubscriptions", "", `404 `},
	} {
		req, _ := http.NewRequestWithContext(ctx, tt.method, c.MarathonURL()+tt.path, strings.NewReader(tt.body))
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := fmt.Sprintf("%d %s", resp.StatusCode, b); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

// TestGroups: one call shows apps and pods of a tree.
func TestGroups(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.Put(ctx, "/v2/groups/prod", `{"apps":[{"id":"web","cmd":"sleep 1","instances":1,"cpus":0.1,"mem":16}],"groups":[{"id":"data","apps":[{"id":"db","cmd":"sleep 1","instances":1,"cpus":0.1,"mem":16}]}]}`); err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"/prod/web", "/prod/data/db"} {
		if _, err := c.WaitRunning(ctx, app, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	type group struct {
		ID   string
		Apps []struct {
			ID    string
			Tasks []struct{ State string }
		}
		Groups []group
	}
	var root group
	if err := c.Get(ctx, "/v2/groups?embed=group.apps&embed=group.apps.tasks&embed=group.groups", &root); err != nil {
		t.Fatal(err)
	}
	prod := root.Groups[0]
	if prod.ID != "/prod" || prod.Apps[0].ID != "/prod/web" || prod.Groups[0].Apps[0].ID != "/prod/data/db" || prod.Apps[0].Tasks[0].State != "TASK_RUNNING" {
		t.Errorf("%+v", root)
	}
	var apps []struct{ ID string }
	if err := c.Get(ctx, "/v2/groups/prod/apps", &apps); err != nil || len(apps) != 2 {
		t.Errorf("the apps of /prod: %v, %+v", err, apps)
	}
	if err := c.Put(ctx, "/v2/groups/prod", `{"apps":[{"id":"web","cmd":"sleep 1","instances":1,"cpus":0.1,"mem":16}]}`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/prod/data/db", 0); err != nil {
		t.Error(err)
	}
}

// TestRollback: a deployment that is deleted without force is undone by another.
func TestRollback(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	// It can't be placed anywhere, so that its deployment stays.
	if err := c.Put(ctx, "/v2/apps/shop/web", `{"cpus":1000,"labels":{"tier":"other"}}`); err != nil {
		t.Fatal(err)
	}
	var running []struct{ ID string }
	if err := c.Get(ctx, "/v2/deployments", &running); err != nil || len(running) != 1 {
		t.Fatalf("%v, %v", running, err)
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodDelete, c.MarathonURL()+"/v2/deployments/"+running[0].ID, nil)
	resp, err := c.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var back struct{ DeploymentID string }
	if err := json.NewDecoder(resp.Body).Decode(&back); err != nil || resp.StatusCode != http.StatusOK || back.DeploymentID == running[0].ID {
		t.Errorf("%s: %+v, %v", resp.Status, back, err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	for _, task := range c.TasksOf("/shop/web") {
		if task.Labels["tier"] != "web" {
			t.Errorf("after the rollback: %+v", task)
		}
	}
	failed := false
	for _, e := range c.Marathon.Published() {
		failed = failed || e.Type == "deployment_failed" && strings.Contains(string(e.Data), running[0].ID)
	}
	if !failed {
		t.Error("no deployment_failed for the one that was undone")
	}
}

// TestLegacyTaskIDs: what an old Marathon launched carries no instance in its id.
func TestLegacyTaskIDs(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.LegacyTaskIDs = true })
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	tasks, err := c.WaitRunning(ctx, "/shop/web", 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if !regexp.MustCompile(`^shop_web\.[0-9a-f-]{36}$`).MatchString(task.ID) || events.AppOf(task.ID) != "/shop/web" {
			t.Errorf("task id %s", task.ID)
		}
	}
	if err := c.DeleteApp(ctx, "/shop/web"); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestLockedAppsAreNotChanged: while a deployment works on an app, another needs
// force; the stream tells of the attempt.
func TestLockedAppsAreNotChanged(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, strings.Replace(webApp, `"instances":2`, `"instances":2,"constraints":[["hostname","IS","nowhere"]]`, 1)); err != nil {
		t.Fatal(err)
	}
	s := openEvents(t, c.MarathonURL(), "?event_type=event_stream_attached&event_type=group_change_failed&event_type=group_change_success")
	s.collect(isKind("event_stream_attached"))
	if err := c.Put(ctx, "/v2/apps/shop/web", `{"mem":20}`); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a locked app was changed: %v", err)
	}
	kind, e := s.next()
	if reason, _ := e["reason"].(string); kind != "group_change_failed" || e["groupId"] != "/shop" || e["version"] == nil || !strings.Contains(reason, "locked") {
		t.Errorf("%s %v", kind, e)
	}
	if err := c.Put(ctx, "/v2/apps/shop/web?force=true", `{"mem":20}`); err != nil {
		t.Fatal(err)
	}
	if kind, e := s.next(); kind != "group_change_success" || e["reason"] != nil {
		t.Errorf("%s %v", kind, e)
	}
}
