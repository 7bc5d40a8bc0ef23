package marathon

import (
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// versions are the versions of /shop/web in the log, in order.
func versions(l *log) string {
	var vs []string
	for _, e := range l.Events() {
		switch {
		case e.Kind == events.AppPut && e.App.ID == "/shop/web":
			vs = append(vs, map[string]string{v1: "v1", v2: "v2", v3: "v3"}[e.App.Version])
		case e.Kind == events.AppGone:
			vs = append(vs, "gone")
		}
	}
	return strings.Join(vs, " ")
}

// step is something that a Marathon does, and how long until the next.
type step struct {
	do    func(f *fake)
	pause time.Duration
}

func shows(version string) func(*fake) {
	return func(f *fake) {
		apps := ""
		if version != "" {
			apps = app("/shop/web", version, "")
		}
		f.set("/v2/groups", group(apps, ""))
		f.set("/v2/groups/shop", shopGroup(apps, ""))
		if apps == "" {
			f.mu.Lock()
			delete(f.answers, "/v2/apps/shop/web")
			f.mu.Unlock()
			return
		}
		f.set("/v2/apps/shop/web", `{"app":`+apps+`}`)
	}
}

func sends(typ, data string) func(*fake) {
	return func(f *fake) { f.send(typ, `{"eventType":"`+typ+`",`+data+`}`) }
}

var (
	changed = sends("group_change_success", `"groupId":"/shop"`)
	begins  = func(id, version string) func(*fake) {
		return func(f *fake) {
			f.set("/v2/apps/shop/web/versions/"+version, app("/shop/web", version, ""))
			plan := `{"id":"` + id + `","version":"` + version + `","steps":[{"actions":[{"action":"RestartApplication","app":"/shop/web"}]}]}`
			f.set("/v2/deployments", `[`+plan+`]`)
			sends("deployment_info", `"plan":`+plan)(f)
		}
	}
	ends = func(typ, id string) func(*fake) {
		return func(f *fake) {
			f.set("/v2/deployments", `[]`)
			sends(typ, `"id":"`+id+`"`)(f)
		}
	}
	reconnects = func(f *fake) { f.drop() }
)

// TestTheNewestVersionOfAnAppStays, whatever the order in which things are told.
func TestTheNewestVersionOfAnAppStays(t *testing.T) {
	const soon, later = 3 * time.Second, time.Minute
	for name, tt := range map[string]struct {
		steps []step
		want  string
	}{
		"an older one is shown for a moment, as by a leader that is none any more": {
			[]step{{shows(v2), 0}, {changed, soon}, {shows(v1), 0}, {reconnects, soon}, {shows(v2), 0}, {reconnects, later}},
			"v1 v2",
		},
		"an older one, and then one that is newer still": {
			[]step{{shows(v2), 0}, {changed, soon}, {shows(v1), 0}, {changed, soon}, {shows(v3), 0}, {changed, later}},
			"v1 v2 v3",
		},
		"an older one that stays: the new leader's clock is behind": {
			[]step{{shows(v3), 0}, {changed, soon}, {shows(v2), 0}, {reconnects, later}},
			"v1 v3 v2",
		},
		"an older one that comes and goes": {
			[]step{
				{shows(v3), 0}, {changed, soon}, {shows(v2), 0}, {changed, soon}, {shows(v3), 0}, {changed, later},
				{shows(v2), 0}, {changed, soon}, {shows(v3), 0}, {changed, later},
			},
			"v1 v3",
		},
		"an older one before it is deleted": {
			[]step{{shows(v3), 0}, {changed, soon}, {shows(v2), 0}, {changed, soon}, {shows(""), 0}, {changed, later}},
			"v1 v3 gone",
		},
		"deleted, and made anew by a leader whose clock is behind": {
			[]step{{shows(v3), 0}, {changed, soon}, {shows(""), 0}, {changed, soon}, {shows(v2), 0}, {changed, later}},
			"v1 v3 gone v2",
		},
		"a deployment that is told late": {
			[]step{{shows(v3), 0}, {changed, soon}, {begins("d1", v2), later}},
			"v1 v3",
		},
		"two deployments told in one batch, the older one last": {
			[]step{{begins("d2", v3), 0}, {begins("d1", v2), later}},
			"v1 v2 v3",
		},
		"a deployment that fails before its version is current": {
			[]step{{begins("d1", v2), soon}, {ends("deployment_failed", "d1"), soon}},
			"v1 v2 v1",
		},
		"a deployment that succeeds while the group lags behind": {
			[]step{{begins("d1", v2), soon}, {changed, soon}, {reconnects, soon}, {shows(v2), 0}, {ends("deployment_success", "d1"), later}},
			"v1 v2",
		},
		"the end of a deployment before its beginning": {
			[]step{{shows(v2), 0}, {ends("deployment_success", "d1"), soon}, {begins("d1", v3), 0}, {changed, later}},
			"v1 v2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			shows(v1)(f)
			bubble(t, f, Config{Settle: time.Second, Silence: time.Hour}, func(t *testing.T, l *log, _ *Source) {
				l.Until(t, "the app is known", appIs("/shop/web", v1))
				for _, s := range tt.steps {
					s.do(f)
					time.Sleep(s.pause)
				}
				if got := versions(l); got != tt.want {
					t.Errorf("the log says %s, want %s", got, tt.want)
				}
			})
		})
	}
}
