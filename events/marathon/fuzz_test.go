package marathon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

// maxMessageSize is what JetStream takes as one message, in bytes.
const maxMessageSize = 1 << 20

// fuzzed is a source as New makes it, which asks nobody.
func fuzzed(l *log) *session {
	s, err := New(Config{Members: []string{"m1:8080"}, Logger: slog.New(slog.DiscardHandler)}, l, nil)
	if err != nil {
		panic(err)
	}
	return &session{Source: s}
}

// check asserts that what reached the log can be stored, and reads back as it
// was meant.
func check(t *testing.T, s *session, l *log) {
	t.Helper()
	if err := s.mirror.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, e := range l.Taken {
		b, err := json.Marshal(e)
		if err != nil || len(b) > maxMessageSize || !utf8.Valid(b) {
			t.Fatalf("an event of %d bytes, %v: %.200s", len(b), err, b)
		}
	}
	if d := cmp.Diff(s.mirror.Picture(), l.Cluster); d != "" {
		t.Fatalf("the log says otherwise than the picture: (-picture +log)\n%s", d)
	}
}

// FuzzEvent gives any event to a source that knows an app and a deployment.
func FuzzEvent(f *testing.F) {
	plan := `{"id":"d1","version":"` + v2 + `","steps":[{"actions":[{"action":"StartApplication","app":"/shop/web"}]},[{"type":"ScalePod","pod":"/p"}]]}`
	f.Add("deployment_info", []byte(`{"timestamp":"`+v2+`","plan":`+plan+`}`))
	f.Add("deployment_failed", []byte(`{"id":"d0","reason":{"a":1},"plan":`+plan+`}`))
	f.Add("api_post_event", []byte(`{"clientIp":"10.0.0.7","appDefinition":`+app("/shop/web", v2, "")+`}`))
	f.Add("pod_updated_event", []byte(`{"uri":"/v2/pods/shop/db"}`))
	f.Add("group_change_success", []byte(`{"groupId":"/shop"}`))
	f.Add("app_terminated_event", []byte(`{"appId":"shop"}`))
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		l := newLog()
		s := fuzzed(l)
		s.putApp(events.App{ID: "/shop/web", Version: v1})
		s.mirror.PutDeployment(events.Deployment{ID: "d0", Version: v1, State: "running", Apps: []string{"/shop/web"}}, timestamp(v1))
		var w wireEvent
		if lenient(json.Unmarshal(data, &w)) != nil {
			w = wireEvent{Type: malformed}
		}
		if w.Type == "" {
			w.Type = typ
		}
		var ws wants
		for range 2 { // told twice
			s.hint(&w, &ws)
		}
		check(t, s, l)
		if c := l.Cluster.Apps["/shop/web"]; c.Version != v1 || len(l.Cluster.Apps) != 1 {
			t.Fatalf("an event changed an app: %v", l.Cluster.Apps)
		}
	})
}

// FuzzAnswer takes anything for a group, twice: what is whole leaves exactly
// what it names, and the second time changes nothing.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(group(app("/shop/web", v2, ""), podStatus("/shop/db", v2))))
	f.Add([]byte(`{"id":"/","version":"` + v1 + `","apps":[],"pods":[],"groups":[]}`))
	f.Add([]byte(`{"id":"/"}`))
	f.Add([]byte(`{"id":"/","apps":[{"id":"/a","labels":{"k":7},"container":{"portMappings":[{"containerPort":-1,"protocol":"udp,tcp,x"}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLog()
		s := fuzzed(l)
		var w wireGroup
		if lenient(json.Unmarshal(data, &w)) != nil {
			return
		}
		for i := range 2 {
			n := len(l.Taken)
			found := map[string]bool{}
			s.putGroup(&w, found)
			if w.whole() {
				s.gone("/", found)
			}
			check(t, s, l)
			if i > 0 && distinct(&w) && len(l.Taken) != n {
				t.Fatalf("the same answer again made %d events of %s", len(l.Taken)-n, fmt.Sprint(l.Taken[n:]))
			}
			for id := range l.Cluster.Apps {
				if !found[id] {
					t.Fatalf("the app %q was not named", id)
				}
			}
			if n := len(found); n != len(l.Cluster.Apps) {
				t.Fatalf("%d apps were named, %d are known", n, len(l.Cluster.Apps))
			}
		}
	})
}

// distinct reports whether no two things in a group have one id: of those that
// have, the last would count.
func distinct(g *wireGroup) bool {
	seen := map[string]bool{}
	var walk func(g *wireGroup) bool
	walk = func(g *wireGroup) bool {
		for i := range g.Apps {
			id := g.Apps[i].ID
			if seen[id] {
				return false
			}
			seen[id] = true
		}
		for i := range g.Pods {
			id := g.Pods[i].Spec.ID
			if seen[id] {
				return false
			}
			seen[id] = true
		}
		for i := range g.Groups {
			if !walk(&g.Groups[i]) {
				return false
			}
		}
		return true
	}
	return walk(g)
}

// FuzzDeployments takes anything for the list of deployments.
func FuzzDeployments(f *testing.F) {
	f.Add([]byte(`[{"id":"d1","version":"` + v2 + `","affectedApps":["/a"],"affectedPods":["/p"],"steps":[{"actions":[{"action":"ScalePod","pod":"/p"}]},[{"type":"x"}],{"app":"/b"}]}]`))
	f.Add([]byte(`[7,{"steps":7},{"id":7}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLog()
		s := fuzzed(l)
		var ws list[wireDeployment]
		if lenient(json.Unmarshal(data, &ws)) != nil {
			return
		}
		for range 2 {
			for i := range ws {
				if d, ok := s.limits.deployment(&ws[i]); ok {
					s.mirror.PutDeployment(d, timestamp(d.Version))
				}
			}
			check(t, s, l)
		}
	})
}
