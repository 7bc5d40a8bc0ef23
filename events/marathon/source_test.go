package marathon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

// app is an app as Marathon shows it, with secrets around what is used.
func app(id, version, extra string) string {
	return fmt.Sprintf(`{"id":%q,"version":%q,"instances":2,"cmd":"run --password hunter2","labels":{"tier":"front"},
		"networks":[{"mode":"container","name":"taskwall"}],"env":{"PASSWORD":{"secret":"s"},"PLAIN":"hunter2"},"secrets":{"s":{"source":"hunter2"}},
		"container":{"type":"MESOS","docker":{"image":"i"},"portMappings":[{"containerPort":8080,"hostPort":0,"name":"http","protocol":"udp,tcp"}]}%s}`, id, version, extra)
}

func podStatus(id, version string) string {
	return fmt.Sprintf(`{"id":%q,"status":"STABLE","spec":%s,"instances":[]}`, id, podSpec(id, version))
}

func podSpec(id, version string) string {
	return fmt.Sprintf(`{"id":%q,"version":%q,"labels":{"kind":"pod"},"environment":{"P":"hunter2"},"networks":[{"mode":"container","name":"taskwall"}],
		"scaling":{"kind":"fixed","instances":3},"containers":[{"name":"c1","exec":{"command":{"shell":"hunter2"}},"endpoints":[{"name":"web","containerPort":80,"hostPort":0,"protocol":["tcp"]}]}]}`, id, version)
}

func group(apps, pods string) string {
	return `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[` + shopGroup(apps, pods) + `]}`
}

func shopApps(apps string) string {
	return `{"id":"/shop/apps","version":"` + v1 + `","apps":[` + apps + `],"pods":[],"groups":[]}`
}

func shopGroup(apps, pods string) string {
	return `{"id":"/shop","version":"` + v1 + `","apps":[` + apps + `],"pods":[` + pods + `],"groups":[]}`
}

const (
	v1 = "2026-01-01T00:00:00.000Z"
	v2 = "2026-01-02T00:00:00.000Z"
	v3 = "2026-01-03T00:00:00.000Z"
)

func wantWeb(version string) events.App {
	return events.App{
		ID: "/shop/web", Version: version, Instances: 2,
		Labels: map[string]string{"tier": "front"}, Networks: []string{"taskwall"},
		Ports: []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}, {Name: "http", Number: 8080, Protocol: "udp"}},
	}
}

func appIs(id, version string) func(*events.Cluster) bool {
	return func(c *events.Cluster) bool { return c.Apps[id].Version == version }
}

// shop is a source that follows a Marathon with the app /shop/web.
func shop(t *testing.T) (*fake, *log, *Source) {
	f, l := newFake(), newLog()
	f.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	s := start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "the app is known", appIs("/shop/web", v1))
	return f, l, s
}

func TestTheSnapshotBecomesEvents(t *testing.T) {
	f, l := newFake(), newLog()
	f.set("/v2/groups", group(app("/shop/web", v1, ""), podStatus("/shop/db", v2)))
	f.set("/v2/deployments", `[{"id":"d1","version":"`+v2+`","affectedApps":["/shop/web"],"affectedPods":["/shop/db"],
		"steps":[{"actions":[{"action":"ScaleApplication","app":"/shop/web"}]},{"actions":[{"action":"ScalePod","pod":"/shop/db"}]}]}]`)
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "all is known", func(c *events.Cluster) bool { return len(c.Apps) == 2 && c.Marathon != nil && len(c.Deployments) == 1 })
	want := events.NewCluster()
	want.Marathon = &events.Marathon{Framework: "fw-1", Name: "shop", Version: "1.11.0", Leader: "m1:8080"}
	want.Apps["/shop/web"] = wantWeb(v1)
	want.Apps["/shop/db"] = events.App{
		ID: "/shop/db", Version: v2, Pod: true, Instances: 3, Labels: map[string]string{"kind": "pod"},
		Networks: []string{"taskwall"}, Ports: []events.Port{{Name: "web", Number: 80, Protocol: "tcp"}},
	}
	want.Deployments["d1"] = events.Deployment{
		ID: "d1", Version: v2, State: "running", Apps: []string{"/shop/db", "/shop/web"},
		Actions: []string{"ScaleApplication /shop/web", "ScalePod /shop/db"},
	}
	if d := cmp.Diff(want, l.Folded()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, e := range l.Events() {
		if e.Kind == events.AppPut && e.App.ID == "/shop/web" && !e.Time.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("the version's time is not the event's: %v", e.Time)
		}
	}
}

func TestNoSecretReachesTheLog(t *testing.T) {
	f, l, s := shop(t)
	f.set("/v2/apps/shop/web", `{"app":`+app("/shop/web", v2, "")+`}`)
	f.send("api_post_event", `{"eventType":"api_post_event","uri":"/v2/apps/shop/web","clientIp":"10.0.0.1","appDefinition":`+app("/shop/web", v2, "")+`}`)
	l.Until(t, "the new version is known", appIs("/shop/web", v2))
	b, err := json.Marshal(l.Events())
	if err != nil || strings.Contains(string(b), "hunter2") {
		t.Errorf("%v, the log says %s", err, b)
	}
	if b, _ := json.Marshal(s.Status()); strings.Contains(string(b), "hunter2") {
		t.Errorf("the status says %s", b)
	}
}

func TestEventsSayWhatToReadAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		event, data string
		paths       map[string]string
		want        func(*events.Cluster) bool
	}{
		"a group changed": {
			"group_change_success", `{"groupId":"/shop","version":"` + v2 + `"}`,
			map[string]string{"/v2/groups/shop": shopGroup(app("/shop/web", v2, "")+`,`+app("/shop/new", v2, ""), "")},
			func(c *events.Cluster) bool {
				return c.Apps["/shop/web"].Version == v2 && c.Apps["/shop/new"].Version == v2
			},
		},
		"an app was deleted from a group": {
			"group_change_success", `{"groupId":"/shop"}`,
			map[string]string{"/v2/groups/shop": shopGroup("", "")},
			func(c *events.Cluster) bool { return len(c.Apps) == 0 },
		},
		"a group was deleted": {
			"group_change_success", `{"groupId":"/shop"}`,
			map[string]string{"/v2/groups": `{"id":"/","version":"` + v2 + `","apps":[],"pods":[],"groups":[]}`},
			func(c *events.Cluster) bool { return len(c.Apps) == 0 },
		},
		"the root group changed": {
			"group_change_success", `{"groupId":"/"}`,
			map[string]string{"/v2/groups": group(app("/shop/web", v2, ""), "")}, appIs("/shop/web", v2),
		},
		"a group changed whose name Marathon takes for a question": {
			"group_change_success", `{"groupId":"/shop/apps"}`,
			map[string]string{
				"/v2/groups/shop/apps": `[` + app("/shop/apps/web", v2, "") + `]`, // the apps of /shop
				"/v2/groups/shop":      `{"id":"/shop","version":"` + v2 + `","apps":[],"pods":[],"groups":[` + shopApps(app("/shop/apps/web", v2, "")) + `]}`,
			},
			appIs("/shop/apps/web", v2),
		},
		"an app of such a group was posted": {
			"api_post_event", `{"appDefinition":{"id":"/shop/apps/web"}}`,
			map[string]string{"/v2/apps/shop/apps/web": `{"app":` + app("/shop/apps/web", v2, "") + `}`}, appIs("/shop/apps/web", v2),
		},
		"an app was posted whose id looks like that of a task": {
			"api_post_event", `{"appDefinition":{"id":"/shop/tasks/web"}}`,
			map[string]string{"/v2/groups/shop/tasks": `{"id":"/shop/tasks","version":"` + v2 + `","apps":[` + app("/shop/tasks/web", v2, "") + `],"pods":[],"groups":[]}`},
			appIs("/shop/tasks/web", v2),
		},
		"an app was posted": {
			"api_post_event", `{"uri":"/v2/apps/shop/web","appDefinition":{"id":"/shop/web","env":{"A":{"secret":"b"}}}}`,
			map[string]string{"/v2/apps/shop/web": `{"app":` + app("/shop/web", v2, "") + `}`}, appIs("/shop/web", v2),
		},
		"an app has terminated": {
			"app_terminated_event", `{"appId":"/shop/web"}`,
			map[string]string{"/v2/groups/shop": shopGroup("", "")},
			func(c *events.Cluster) bool { return len(c.Apps) == 0 },
		},
		"a pod was updated": {
			"pod_updated_event", `{"uri":"/v2/pods/shop/db"}`,
			map[string]string{"/v2/pods/shop/db": podSpec("/shop/db", v2)}, appIs("/shop/db", v2),
		},
		"a pod was created": { // the URI names no pod
			"pod_created_event", `{"uri":"/v2/pods"}`,
			map[string]string{"/v2/groups": group("", podStatus("/shop/db", v2))}, appIs("/shop/db", v2),
		},
		"an event that cannot be read": {
			"group_change_success", `{"groupId":`,
			map[string]string{"/v2/groups": group(app("/shop/web", v2, ""), "")}, appIs("/shop/web", v2),
		},
		"the scheduler has registered": {
			"scheduler_registered_event", `{"frameworkId":"fw-2"}`,
			map[string]string{"/v2/info": `{"name":"marathon","frameworkId":"fw-2"}`},
			func(c *events.Cluster) bool { return c.Marathon.Framework == "fw-2" && c.Marathon.Name == "marathon" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, l, s := shop(t)
			for path, answer := range tt.paths {
				f.set(path, answer)
			}
			data := strings.Replace(tt.data, "{", `{"eventType":"`+tt.event+`","timestamp":"`+v2+`",`, 1)
			f.send(tt.event, data)
			l.Until(t, name, tt.want)
			if n := s.Status().Counters.Failures; n > 0 {
				t.Errorf("it cost the stream: %s", s.Status().LastError)
			}
		})
	}
}

// TestWhatHappensWhileTheSnapshotIsReadIsNotLost: the event is buffered.
func TestWhatHappensWhileTheSnapshotIsReadIsNotLost(t *testing.T) {
	f, l := newFake(), newLog()
	f.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	once := false
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/info" && !once {
			once = true
			f.send("group_change_success", `{"eventType":"group_change_success","groupId":"/shop"}`)
			f.set("/v2/groups/shop", shopGroup(app("/shop/web", v2, ""), ""))
		}
		return false
	}
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "the change is known", appIs("/shop/web", v2))
}

// TestNothingIsReadBeforeTheStreamIsAttached: else what happens in between
// would be lost.
func TestNothingIsReadBeforeTheStreamIsAttached(t *testing.T) {
	f, l := newFake(), newLog()
	f.attach = false // 200, and the end: elected, but not ready
	s := start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	for range 3 {
		<-f.opened
	}
	if reads := f.requests(); len(reads) != 0 {
		t.Errorf("read %v", reads)
	}
	if st := s.Status(); st.Connected || !strings.Contains(st.LastError, ErrNotAttached.Error()) {
		t.Errorf("%+v", st)
	}
	f.mu.Lock()
	f.attach = true
	f.mu.Unlock()
	l.Until(t, "Marathon is known", func(c *events.Cluster) bool { return c.Marathon != nil })
}

func TestACutStreamIsOpenedAgainAndWhatWasMissedIsRead(t *testing.T) {
	f, l, s := shop(t)
	f.set("/v2/groups", group(app("/shop/web", v2, ""), ""))
	f.drop() // as when a slow consumer is cut off, or the leader changes
	l.Until(t, "the missed change is known", appIs("/shop/web", v2))
	if st := s.Status().Counters; st.Connects < 1 || st.Failures == 0 {
		t.Errorf("%+v", st)
	}
}

func TestDeployments(t *testing.T) {
	const plan = `{"id":"d1","version":"` + v2 + `","steps":[{"actions":[{"action":"StartApplication","app":"/shop/web"}]},{"actions":[{"type":"ScaleApplication","app":"/shop/web"}]}]}`
	const info = `{"eventType":"deployment_info","timestamp":"2026-01-02T00:00:01.000Z","plan":` + plan + `,"currentStep":{}}`
	type told struct {
		State, Reason string
		At            string
	}
	history := func(l *log) (h []told) {
		for _, e := range l.Events() {
			if e.Kind == events.DeploymentPut {
				h = append(h, told{e.Deployment.State, e.Deployment.Reason, e.Time.Format(time.RFC3339)})
			}
		}
		return h
	}
	t.Run("that succeed", func(t *testing.T) {
		f, l, _ := shop(t)
		f.send("deployment_info", info)
		f.send("deployment_step_success", strings.Replace(info, "deployment_info", "deployment_step_success", 1))
		f.send("deployment_success", `{"eventType":"deployment_success","timestamp":"2026-01-02T00:00:09.000Z","id":"d1","plan":`+plan+`}`)
		l.Until(t, "it has ended", func(c *events.Cluster) bool { return len(history0(l)) == 2 })
		want := []told{{"running", "", "2026-01-02T00:00:01Z"}, {"succeeded", "", "2026-01-02T00:00:09Z"}}
		if d := cmp.Diff(want, history(l)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		for _, e := range l.Events() {
			if e.Kind == events.DeploymentPut && (len(e.Deployment.Actions) != 2 || e.Deployment.Actions[0] != "StartApplication /shop/web") {
				t.Errorf("actions %v", e.Deployment.Actions)
			}
		}
	})
	t.Run("and who asked for them", func(t *testing.T) {
		post := `{"eventType":"api_post_event","timestamp":"2026-01-02T00:00:00.500Z","clientIp":"10.0.0.7","uri":"/v2/apps/shop/web","appDefinition":` + app("/shop/web", v2, "") + `}`
		brief := strings.NewReplacer(v2, strings.Replace(v2, ".000", "", 1)) // the plan's version may lack the fraction
		info, plan := brief.Replace(info), brief.Replace(plan)
		other := strings.NewReplacer("10.0.0.7", "10.9.9.9", v2, v3).Replace(post)
		for _, order := range [][]string{{"api_post_event", "deployment_info"}, {"deployment_info", "api_post_event"}} {
			f, l, _ := shop(t)
			f.send("api_post_event", other) // of another version
			for _, typ := range order {
				f.send(typ, map[string]string{"api_post_event": post, "deployment_info": info}[typ])
			}
			l.Until(t, "it is known who asked", func(c *events.Cluster) bool { return c.Deployments["d1"].Client == "10.0.0.7" })
			f.set("/v2/deployments", `[`+plan+`]`)
			f.send("deployment_step_success", strings.Replace(info, "deployment_info", "deployment_step_success", 1))
			f.drop() // a snapshot, which does not say it, follows
			<-f.opened
			<-f.opened
			f.send("deployment_success", `{"eventType":"deployment_success","timestamp":"2026-01-02T00:00:09.000Z","id":"d1","plan":`+plan+`}`)
			l.Until(t, "it has ended", func(c *events.Cluster) bool { return len(c.Deployments) == 0 })
			evs := history0(l)
			if last := evs[len(evs)-1].Deployment; last.State != "succeeded" || last.Client != "10.0.0.7" {
				t.Errorf("%v: it ended as %+v", order, last)
			}
			if n := len(evs); n > 3 {
				t.Errorf("%v: told %d times", order, n)
			}
		}
	})
	t.Run("that fail, their beginning unseen", func(t *testing.T) {
		f, l, _ := shop(t)
		f.send("deployment_failed", `{"eventType":"deployment_failed","timestamp":"2026-01-02T00:00:09.000Z","id":"d1","reason":"cancelled","plan":`+plan+`}`)
		l.Until(t, "it has ended", func(c *events.Cluster) bool { return len(history0(l)) == 2 })
		want := []told{{"running", "", "2026-01-02T00:00:09Z"}, {"failed", "cancelled", "2026-01-02T00:00:09Z"}}
		if d := cmp.Diff(want, history(l)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
	t.Run("whose version can be read before it is current", func(t *testing.T) {
		f, l, _ := shop(t)
		f.set("/v2/apps/shop/web/versions/"+v2, app("/shop/web", v2, ""))
		f.send("deployment_info", info)
		l.Until(t, "the new version is known", appIs("/shop/web", v2))
		// Meanwhile the group still shows the former one, and that is no way back.
		f.set("/v2/groups/shop", shopGroup(app("/shop/web", v1, ""), ""))
		f.send("group_change_success", `{"eventType":"group_change_success","groupId":"/shop"}`)
		f.set("/v2/info", `{"name":"later","frameworkId":"fw-1"}`)
		f.send("scheduler_reregistered_event", `{"eventType":"scheduler_reregistered_event"}`)
		l.Until(t, "the group was read", func(c *events.Cluster) bool { return c.Marathon.Name == "later" })
		if v := l.Folded().Apps["/shop/web"].Version; v != v2 {
			t.Errorf("the version is %s", v)
		}
		// The deployment fails: what is current counts.
		f.set("/v2/apps/shop/web", `{"app":`+app("/shop/web", v1, "")+`}`)
		f.send("deployment_failed", `{"eventType":"deployment_failed","id":"d1"}`)
		l.Until(t, "the former version is back", appIs("/shop/web", v1))
	})
	t.Run("that delete an app and do not come to an end", func(t *testing.T) {
		f, l, _ := shop(t)
		f.send("deployment_info", strings.ReplaceAll(info, "StartApplication", "StopApplication"))
		f.set("/v2/groups/shop", shopGroup("", ""))
		f.send("group_change_success", `{"eventType":"group_change_success","groupId":"/shop"}`)
		l.Until(t, "the app is gone", func(c *events.Cluster) bool { return len(c.Apps) == 0 && len(c.Deployments) == 1 })
	})
	t.Run("that bring an app, which another deletes before it was seen", func(t *testing.T) {
		f, l, _ := shop(t)
		f.set("/v2/apps/shop/new/versions/"+v2, app("/shop/new", v2, ""))
		f.send("deployment_info", strings.ReplaceAll(info, "/shop/web", "/shop/new"))
		l.Until(t, "the new app is known", appIs("/shop/new", v2))
		f.send("deployment_success", `{"eventType":"deployment_success","id":"d1"}`)
		f.send("deployment_info", strings.NewReplacer("/shop/web", "/shop/new", `"d1"`, `"d2"`, v2, v3).Replace(info))
		f.set("/v2/groups/shop", shopGroup(app("/shop/web", v1, ""), ""))
		f.send("group_change_success", `{"eventType":"group_change_success","groupId":"/shop"}`)
		l.Until(t, "it is gone", func(c *events.Cluster) bool { return len(c.Apps) == 1 && c.Deployments["d2"].ID != "" })
	})
	t.Run("of apps that cannot be seen yet", func(t *testing.T) {
		f, l, _ := shop(t)
		fresh := strings.ReplaceAll(info, "/shop/web", "/shop/new")
		f.set("/v2/apps/shop/new/versions/"+v2, app("/shop/new", v2, ""))
		f.send("deployment_info", fresh)
		l.Until(t, "the new app is known", appIs("/shop/new", v2))
		f.set("/v2/deployments", `[`+strings.ReplaceAll(plan, "/shop/web", "/shop/new")+`]`)
		f.drop() // and the snapshot does not have it yet, nor the deployment's end
		<-f.opened
		<-f.opened
		f.set("/v2/info", `{"name":"later","frameworkId":"fw-1"}`)
		f.send("scheduler_reregistered_event", `{"eventType":"scheduler_reregistered_event"}`)
		l.Until(t, "the snapshot was read", func(c *events.Cluster) bool { return c.Marathon.Name == "later" })
		if _, has := l.Folded().Apps["/shop/new"]; !has {
			t.Error("the app is gone while it is being deployed")
		}
	})
}

func history0(l *log) (n []events.Event) {
	for _, e := range l.Taken { // Until holds the lock
		if e.Kind == events.DeploymentPut {
			n = append(n, e)
		}
	}
	return n
}

func TestWhatIsKnownIsNotAppendedAgain(t *testing.T) {
	f, l, _ := shop(t)
	again := newLog()
	s := start(t, Config{Members: []string{serve(t, f).URL}, Resync: time.Millisecond}, again, l.Folded())
	for s.Status().Counters.Snapshots < 5 {
		<-f.opened
		f.drop()
	}
	if evs := again.Events(); len(evs) != 0 {
		t.Errorf("appended %v", evs)
	}
}
