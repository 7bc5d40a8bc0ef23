package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
)

// TestWhatAPluginHides: lists leave it out, single answers refuse it, and the
// root of one who may view nothing has not even a version.
func TestWhatAPluginHides(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	const pod = `{"id":"/pay/pod","scaling":{"kind":"fixed","instances":0},"containers":[{"name":"a","exec":{"command":{"shell":"x"}},"resources":{"cpus":0.1,"mem":16}}]}`
	for _, id := range []string{"/pay/web", "/pay/a/b", "/shop/web"} {
		if err := c.CreateApp(ctx, `{"id":"`+id+`","cmd":"x","instances":0}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CreatePod(ctx, pod); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		t.Helper()
		return getRaw(t, c.MarathonURL()+path)
	}
	for _, tt := range []struct {
		hide []string
		want map[string]string // status and what the answer has, by path
	}{
		{nil, map[string]string{"/v2/groups": "200 /pay/pod", "/v2/groups/pay": "200 /pay/a/b", "/v2/apps/pay/web": "200 ", "/v2/pods": "200 /pay/pod"}},
		{[]string{"/pay"}, map[string]string{
			"/v2/groups": "200 /shop/web", "/v2/groups/pay": "404 ", "/v2/groups/shop": "200 ", "/v2/pods": "200 []", "/v2/pods/pay/pod": "403 Not Authorized",
			"/v2/apps/pay/web": "403 Not Authorized", "/v2/apps/pay/web/versions": "403 ", "/v2/pods/pay/pod::versions": "403 ", "/v2/apps/shop/web": "200 ",
		}},
		{[]string{"/pay/a"}, map[string]string{"/v2/groups/pay": "200 /pay/web", "/v2/apps/pay/a/b": "403 ", "/v2/groups/pay/a": "404 "}},
		{[]string{"/"}, map[string]string{"/v2/groups": `200 "apps":[]`, "/v2/groups/pay": "404 ", "/v2/apps": `200 {"apps":[]}`, "/v2/pods/::status": "200 []"}},
	} {
		c.Marathon.Hide(tt.hide...)
		for path, want := range tt.want {
			status, body := get(path)
			code, has, _ := strings.Cut(want, " ")
			if fmt.Sprint(status) != code || !strings.Contains(body, has) {
				t.Errorf("hiding %v: %s is %d %s, want %s", tt.hide, path, status, body, want)
			}
			for _, h := range tt.hide {
				if h != "/" && strings.Contains(body, `"`+h) && status == http.StatusOK {
					t.Errorf("hiding %v: %s shows %s", tt.hide, path, body)
				}
			}
		}
	}
	if _, body := get("/v2/groups"); strings.Contains(body, "version") {
		t.Errorf("one who may view nothing is told %s", body)
	}
}

// TestTheSourceKeepsWhatIsNoLongerShownAtAll, and goes on when Marathon is
// asked too much.
func TestTheSourceKeepsWhatIsNoLongerShownAtAll(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, `{"id":"/shop/web","cmd":"x","instances":0}`); err != nil {
		t.Fatal(err)
	}
	p := follow(t, c.MarathonURL())
	p.until(t, func(apps map[string]events.App) bool { return len(apps) == 1 })
	c.Marathon.Hide("/")
	c.Marathon.Overload(true)
	c.CutStreams()
	if status, body := getRaw(t, c.MarathonURL()+"/ping"); status != http.StatusServiceUnavailable || !strings.Contains(body, "Too many concurrent requests!") {
		t.Errorf("overloaded, it answers %d %s", status, body)
	}
	c.Marathon.Overload(false)
	eventually(t, "everything was asked for while nothing is shown", func() bool { return p.source.Status().Counters.Malformed > 0 })
	// Another app is made: only the events tell, and no answer about it may be had.
	if err := c.CreateApp(ctx, `{"id":"/shop/other","cmd":"x","instances":0}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was asked for", func() bool { return p.source.Status().Counters.Forbidden > 0 })
	c.Marathon.Hide()
	c.CutStreams()
	apps := p.until(t, func(apps map[string]events.App) bool { return len(apps) != 1 })
	if len(apps) != 2 {
		t.Errorf("what was not shown was taken for deleted: %v", apps)
	}
}

// TestNamesThatLookLikePartsOfIDs: an app and a container that are called like
// what Marathon puts into task ids.
func TestNamesThatLookLikePartsOfIDs(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, `{"id":"/a.instance-b/c","cmd":"sleep 1000","instances":1,"cpus":0.1,"mem":16}`); err != nil {
		t.Fatal(err)
	}
	if err := c.CreatePod(ctx, `{"id":"/v1.marathon-2","scaling":{"kind":"fixed","instances":1},
		"containers":[{"name":"instance-1","exec":{"command":{"shell":"sleep 1000"}},"resources":{"cpus":0.1,"mem":16}}]}`); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"/a.instance-b/c", "/v1.marathon-2"} {
		tasks, err := c.WaitRunning(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		task := events.Task{ID: tasks[0].ID, Executor: tasks[0].Executor}
		if got := task.App(); got != id {
			t.Errorf("task %s in %s is read as of %s, want %s", task.ID, task.Executor, got, id)
		}
		if got := events.AppOfExecutor(task.Executor); got != id {
			t.Errorf("executor %s is read as of %s, want %s", task.Executor, got, id)
		}
	}
}

func getRaw(t *testing.T, url string) (int, string) {
	t.Helper()
	req, _ := http.NewRequestWithContext(testContext(t), http.MethodGet, url, nil)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
