package marathon

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taskwall/taskwall/events"
)

// An answer of 200 is no proof that Marathon gave it, nor that it is whole.
func TestAnswersThatAreNoneTakeNoAppAway(t *testing.T) {
	whole := group(app("/shop/web", v1, ""), "")
	for name, answer := range map[string]string{
		"an empty object":         `{}`,
		"an empty list":           `[]`,
		"nothing":                 `null`,
		"a message":               `{"message":"The server is not ready"}`,
		"another group":           shopGroup("", ""),
		"only an id":              `{"id":"/"}`,
		"no lists":                `{"id":"/","version":"` + v1 + `","dependencies":[],"enforceRole":false}`,
		"no apps":                 `{"id":"/","version":"` + v1 + `","pods":[],"groups":[]}`,
		"no pods":                 `{"id":"/","version":"` + v1 + `","apps":[],"groups":[]}`,
		"no groups":               `{"id":"/","version":"` + v1 + `","apps":[],"pods":[]}`,
		"lists that are null":     `{"id":"/","version":"` + v1 + `","apps":null,"pods":null,"groups":null}`,
		"a group without lists":   `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[{"id":"/shop"}]}`,
		"a deep one without":      `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[{"id":"/shop","apps":[],"pods":[],"groups":[{"id":"/shop/a","pods":[],"groups":[]}]}]}`,
		"nothing may be viewed":   `{"id":"/","apps":[],"pods":[],"groups":[],"dependencies":[]}`,
		"apps are no list":        `{"id":"/","version":"` + v1 + `","apps":{},"pods":[],"groups":[]}`,
		"groups are a message":    `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":"forbidden"}`,
		"a group is no object":    `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[7]}`,
		"a group without an id":   `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[{"apps":[],"pods":[],"groups":[]}]}`,
		"an app of another group": `{"id":"/","version":"` + v1 + `","apps":[` + app("/shop/foreign", v1, "") + `],"pods":[],"groups":[]}`,
		"a relative id":           `{"id":"/","version":"` + v1 + `","apps":[` + app("web", v1, "") + `],"pods":[],"groups":[]}`,
		"a group of another":      `{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[` + `{"id":"/a/b","version":"` + v1 + `","apps":[` + app("/a/b/c", v1, "") + `],"pods":[],"groups":[]}` + `]}`,
		"an app without an id":    `{"id":"/","version":"` + v1 + `","apps":[{"version":"x"}],"pods":[],"groups":[]}`,
		"a pod without a spec":    `{"id":"/","version":"` + v1 + `","apps":[],"pods":[{"id":"/shop/db"}],"groups":[]}`,
		"a page":                  `<html>Welcome</html>`,
		"half":                    whole[:len(whole)/2],
	} {
		t.Run(name, func(t *testing.T) {
			f, l, s := shop(t)
			f.set("/v2/groups", answer)
			was := s.Status().Counters
			f.drop() // the next session begins with a snapshot
			for st := was; st.Failures+st.Malformed < was.Failures+was.Malformed+2; st = s.Status().Counters {
				<-f.opened
				f.drop()
			}
			if c := l.Folded(); !appIs("/shop/web", v1)(c) || len(c.Apps) != 1 {
				t.Errorf("the app was taken for deleted, or another taken in: %v", c.Apps)
			}
			f.set("/v2/groups", group("", ""))
			f.drop()
			l.Until(t, "the app is gone, once Marathon says so", func(c *events.Cluster) bool { return len(c.Apps) == 0 })
		})
	}
}

func TestDeploymentsThatAreNoListHaveNotEnded(t *testing.T) {
	f, l, s := shop(t)
	f.set("/v2/deployments", `[{"id":"d1","version":"`+v2+`","affectedApps":["/shop/web"]}]`)
	f.drop()
	l.Until(t, "the deployment is known", func(c *events.Cluster) bool { return len(c.Deployments) == 1 })
	f.set("/v2/deployments", `{"message":"no"}`)
	was := s.Status().Counters.Failures
	f.drop()
	for s.Status().Counters.Failures < was+3 {
		<-f.opened
	}
	if st := s.Status(); !strings.Contains(st.LastError, "something else where a list belongs") {
		t.Errorf("the status says %q", st.LastError)
	}
}

// What stands between us and Marathon has a 404 of its own.
func TestOnlyMarathonsOwn404IsBelieved(t *testing.T) {
	f, l := newFake(), newLog()
	var between atomic.Bool
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if between.Load() && r.URL.Path == "/v2/apps/shop/web" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<html>404 Not Found</html>")
			between.Store(false)
			f.set("/v2/groups", group(app("/shop/web", v2, ""), ""))
			return true
		}
		return false
	}
	f.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "the app is known", appIs("/shop/web", v1))
	between.Store(true)
	f.send("app_terminated_event", `{"eventType":"app_terminated_event","appId":"/shop/web"}`)
	l.Until(t, "the app is read anew", appIs("/shop/web", v2))
	for _, e := range l.Events() {
		if e.Kind == events.AppGone {
			t.Error("the app was taken for deleted")
		}
	}
	f.set("/v2/groups/shop", shopGroup("", ""))
	f.send("app_terminated_event", `{"eventType":"app_terminated_event","appId":"/shop/web"}`)
	l.Until(t, "the app is gone", func(c *events.Cluster) bool { return len(c.Apps) == 0 })
}

// A balancer in front of two Marathons, or a leader that changes in the middle
// of a snapshot: half of each would be a picture of none.
func TestASnapshotIsOfTheStreamsLeader(t *testing.T) {
	f, l := newFake(), newLog()
	var other atomic.Bool
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		name := "http://m1:8080"
		if other.Load() && r.URL.Path == "/v2/groups" {
			name = "http://m2:8080"
		}
		w.Header().Set(leaderHeader, name)
		return false
	}
	f.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	s := start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "the app is known", appIs("/shop/web", v1))
	f.set("/v2/groups", group("", ""))
	other.Store(true)
	was := s.Status().Counters.Failures
	f.drop()
	for s.Status().Counters.Failures < was+3 {
		<-f.opened
	}
	if !appIs("/shop/web", v1)(l.Folded()) {
		t.Error("another leader's answer took the app away")
	}
	if st := s.Status(); !strings.Contains(st.LastError, "it is of the leader http://m2:8080, the stream is of http://m1:8080") {
		t.Errorf("the status says %q", st.LastError)
	}
	other.Store(false)
	l.Until(t, "the app is gone", func(c *events.Cluster) bool { return len(c.Apps) == 0 })
}

// Members that are another Marathon's, by a slip of the configuration or of
// DNS, must not take the names of all apps away; a new one in place of one
// that has ended must.
func TestAnotherMarathonIsBelievedWhenTheKnownOneIsNoLongerActive(t *testing.T) {
	f, l := newFake(), newLog()
	f.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	var ended atomic.Bool
	active := func(framework string) bool { return framework == "fw-1" && !ended.Load() }
	s := start(t, Config{Members: []string{serve(t, f).URL}, Active: active}, l, nil)
	l.Until(t, "the app is known", appIs("/shop/web", v1))

	f.set("/v2/info", `{"name":"marathon","version":"1.11.0","frameworkId":"fw-2","leader":"m9:8080"}`)
	f.set("/v2/groups", group(app("/shop/other", v1, ""), ""))
	was := s.Status().Counters.Failures
	f.drop()
	for s.Status().Counters.Failures < was+3 {
		<-f.opened
	}
	if c := l.Folded(); c.Marathon.Framework != "fw-1" || len(c.Apps) != 1 || c.Apps["/shop/web"].ID == "" {
		t.Errorf("another Marathon was believed: %+v, %v", c.Marathon, c.Apps)
	}
	st := s.Status()
	for _, say := range []string{"another Marathon", `framework "fw-2"`, `"fw-1", whose apps are known, is active at Mesos`} {
		if st.Connected || !strings.Contains(st.LastError, say) {
			t.Errorf("connected %v, the status says %q and lacks %q", st.Connected, st.LastError, say)
		}
	}

	// One that never registered with Mesos, and is empty, is another as well:
	// the known one has its framework's id in ZooKeeper.
	f.set("/v2/info", `{"name":"marathon","version":"1.11.0","leader":"m9:8080"}`)
	f.set("/v2/groups", group("", ""))
	was = s.Status().Counters.Failures
	for s.Status().Counters.Failures < was+3 {
		<-f.opened
	}
	if c := l.Folded(); c.Marathon.Framework != "fw-1" || c.Apps["/shop/web"].ID == "" {
		t.Errorf("a Marathon without a framework was believed: %+v, %v", c.Marathon, c.Apps)
	}

	f.set("/v2/groups", group(app("/shop/other", v1, ""), ""))
	f.set("/v2/info", `{"name":"marathon","version":"1.11.0","frameworkId":"fw-2","leader":"m9:8080"}`)
	ended.Store(true)
	l.Until(t, "the new Marathon is known", func(c *events.Cluster) bool {
		return c.Marathon.Framework == "fw-2" && len(c.Apps) == 1 && c.Apps["/shop/other"].ID != ""
	})
}

// An answer of 200 that is not about the app that was asked for, as something
// in between may give it, neither is taken for the app's nor loses its change.
func TestAnAnswerAboutAnotherAppHasEverythingRead(t *testing.T) {
	for name, answer := range map[string]string{
		"an error":    `{"message":"try later"}`,
		"another app": `{"app":` + app("/shop/foreign", v2, "") + `}`,
		"a list":      `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			f, l, s := shop(t)
			f.set("/v2/apps/shop/web", answer)
			f.set("/v2/groups", group(app("/shop/web", v2, ""), ""))
			f.send("api_post_event", `{"eventType":"api_post_event","appDefinition":{"id":"/shop/web","version":"`+v2+`"}}`)
			l.Until(t, "the change is known", appIs("/shop/web", v2))
			for _, e := range l.Events() {
				if e.App != nil && e.App.ID == "/shop/foreign" {
					t.Error("an app that was not asked for was taken")
				}
			}
			if st := s.Status(); st.Counters.Malformed != 1 || st.Counters.Failures != 0 {
				t.Errorf("%+v", st.Counters)
			}
		})
	}
}

// An id that is not absolute is not one of Marathon's; it leads to no read of
// another path, and to no end of the source.
func TestAnIDThatIsNotAbsoluteIsNotAskedFor(t *testing.T) {
	s := fuzzed(newLog())
	s.mirror.PutApp(events.App{ID: "web", Version: v1}, timestamp(v1)) // from a log of before
	plan := &wireDeployment{ID: "d1", Version: v2, Steps: []wireStep{{{Action: "StartApplication", App: "web"}, {Action: "StartPod", Pod: "../x"}}}}
	for _, typ := range []string{"deployment_info", "deployment_failed"} {
		s.hint(&wireEvent{Type: typ, ID: "d1", Plan: plan}, &s.wants)
	}
	if !s.wants.empty() {
		t.Errorf("asks for %+v", s.wants)
	}
	s.missed("web")
	if !s.wants.groups["/"] {
		t.Errorf("asks for %+v", s.wants)
	}
	for id, want := range map[string]string{"/a/b/c": "/a/b", "/a": "/", "a": "/", "": "/", "a/b": "a"} {
		if got := parent(id); got != want {
			t.Errorf("%q is in %q, want %q", id, got, want)
		}
	}
}
