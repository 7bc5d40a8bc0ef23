package marathon

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

// TestAppsThatRunAndAreNotShownAreWarnedOf, for Marathon leaves out silently
// what a user may not view. Those of a deleted app end soon.
func TestAppsThatRunAndAreNotShownAreWarnedOf(t *testing.T) {
	var out buffer
	var run atomic.Value
	run.Store([]string{"/shop/web"})
	f := newFake()
	shows(v1)(f)
	cfg := Config{
		Logger: slog.New(slog.NewTextHandler(&out, nil)), Silence: 24 * time.Hour,
		Running: func(framework string) []string {
			if framework != "fw-1" {
				return nil
			}
			return run.Load().([]string)
		},
	}
	bubble(t, f, cfg, func(t *testing.T, l *log, s *Source) {
		hidden := func(when string, n int, apps ...string) {
			t.Helper()
			if st := s.Status(); st.Hidden != n || cmp.Diff(apps, st.HiddenApps) != "" {
				t.Errorf("%s: %d hidden, %v", when, st.Hidden, st.HiddenApps)
			}
		}
		l.Until(t, "the app is known", appIs("/shop/web", v1))
		time.Sleep(time.Hour)
		hidden("while all is shown", 0)
		shows("")(f)
		changed(f)
		time.Sleep(6 * time.Minute)
		hidden("of a deletion that takes a while", 0)
		run.Store([]string{})
		time.Sleep(time.Hour)
		hidden("after it", 0)
		run.Store([]string{"/shop/f", "/shop/e", "/shop/d", "/shop/c", "/shop/b", "/shop/a"})
		time.Sleep(20 * time.Minute)
		hidden("of those that run on", 6, "/shop/a", "/shop/b", "/shop/c", "/shop/d", "/shop/e")
		run.Store([]string{"/shop/b"})
		time.Sleep(6 * time.Minute)
		hidden("of one that runs on", 1, "/shop/b")
		f.set("/v2/groups", group(app("/shop/b", v1, ""), ""))
		time.Sleep(6 * time.Minute)
		hidden("when it is shown again", 0)
	})
	if warned, over := strings.Count(out.String(), "may this user view"), strings.Count(out.String(), "shown again"); warned != 1 || over != 1 {
		t.Errorf("warned %d times, over %d times:\n%s", warned, over, out.String())
	}
}

// TestWhatMayNotBeViewedCostsNoSession, nor is it taken for deleted: Marathon's
// events tell of everything, its answers only of what the user may view.
func TestWhatMayNotBeViewedCostsNoSession(t *testing.T) {
	var out buffer
	var closed atomic.Bool
	f := newFake()
	shows(v1)(f)
	f.set("/v2/groups", group(app("/shop/web", v1, ""), podStatus("/shop/db", v1)))
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if closed.Load() && strings.HasPrefix(strings.TrimLeft(r.URL.Path, "/"), "v2/") && strings.Contains(r.URL.Path, "/shop") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Not Authorized to perform this action!"}`)
			return true
		}
		return false
	}
	bubble(t, f, Config{Logger: slog.New(slog.NewTextHandler(&out, nil)), Silence: time.Hour, Resync: 24 * time.Hour}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "both are known", func(c *events.Cluster) bool { return len(c.Apps) == 2 })
		closed.Store(true)
		for range 20 {
			changed(f)
			sends("api_post_event", `"appDefinition":{"id":"/shop/web","version":"`+v2+`"}`)(f)
			sends("pod_updated_event", `"uri":"/v2/pods/shop/db"`)(f)
			begins("d1", v2)(f)
			sends("app_terminated_event", `"appId":"/shop/db"`)(f)
			time.Sleep(time.Second)
		}
		st := s.Status()
		if !st.Connected || st.Counters.Failures != 0 || st.Counters.Forbidden == 0 || len(l.Folded().Apps) != 2 {
			t.Errorf("%+v, apps %v", st, l.Folded().Apps)
		}
		closed.Store(false)
		shows(v3)(f)
		changed(f)
		l.Until(t, "it can be viewed again", appIs("/shop/web", v3))
	})
	if n := strings.Count(out.String(), "may not view"); n != 1 {
		t.Errorf("said %d times:\n%s", n, out.String())
	}
}

// TestA404MayBeOfWhatIsHidden: of a group, an app or a pod that may not be
// viewed Marathon says that there is none; only a whole answer about what holds
// it is believed.
func TestA404MayBeOfWhatIsHidden(t *testing.T) {
	f := newFake()
	shows(v1)(f)
	f.set("/v2/groups", group(app("/shop/web", v1, ""), podStatus("/shop/db", v1)))
	both := func(c *events.Cluster) bool { return len(c.Apps) == 2 }
	bubble(t, f, Config{Silence: time.Hour, Resync: 24 * time.Hour}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "both are known", both)
		hidden := `{"id":"/","apps":[],"pods":[],"groups":[],"dependencies":[]}`
		f.mu.Lock()
		f.answers["/v2/groups"] = hidden
		delete(f.answers, "/v2/groups/shop")
		delete(f.answers, "/v2/apps/shop/web")
		f.mu.Unlock()
		for range 3 {
			changed(f)
			sends("app_terminated_event", `"appId":"/shop/web"`)(f)
			sends("pod_deleted_event", `"uri":"/v2/pods/shop/db"`)(f)
			time.Sleep(time.Minute)
		}
		if c := l.Folded(); !both(c) || s.Status().Counters.Failures != 0 {
			t.Errorf("apps %v, %+v", c.Apps, s.Status())
		}
		reads := s.Status().Counters.Reads
		if reads > 60 {
			t.Errorf("nine events cost %d reads", reads)
		}
		f.set("/v2/groups", group("", podStatus("/shop/db", v1)))
		sends("app_terminated_event", `"appId":"/shop/web"`)(f)
		l.Until(t, "the app is gone, once the root says so", func(c *events.Cluster) bool { return len(c.Apps) == 1 && c.Apps["/shop/db"].Pod })
	})
}
