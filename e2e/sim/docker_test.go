package sim_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim"
)

// TestDockerTask: a task of the Docker containerizer has a namespace of its own
// and meets no plugin; its TASK_RUNNING carries docker inspect, environment and
// all, on the stream and nowhere else.
func TestDockerTask(t *testing.T) {
	c := startReal(t, "twsl")
	ctx := testContext(t)
	s := c.Master()
	if err := c.CreateApp(ctx, `{"id":"/shop/img","cmd":"sleep 1000","cpus":0.1,"mem":32,"instances":1,"env":{"PASSWORD":"hush"},
		"container":{"type":"DOCKER","docker":{"image":"alpine","parameters":[{"key":"net","value":"none"}]}}}`); err != nil {
		t.Fatal(err)
	}
	tasks, err := c.WaitRunning(ctx, "/shop/img", 1)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := os.Readlink(tasks[0].Netns)
	if err != nil {
		t.Fatal(err)
	}
	var host string
	if err := c.Host(tasks[0].Host).NS.Do(func() (err error) { host, err = os.Readlink("/proc/thread-self/ns/net"); return }); err != nil || host == inside {
		t.Errorf("in %s, host %s: %v", inside, host, err)
	}
	if err := netns.Do(tasks[0].Netns, func() error {
		lo, err := net.InterfaceByName("lo")
		if err == nil && lo.Flags&net.FlagUp == 0 {
			err = errors.New("Docker sets loopback up, and it is down")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(c.logs[tasks[0].Host])
	if err != nil || len(entries) != 0 {
		t.Errorf("the plugin was called: %v %v", entries, err)
	}
	b, _ := json.Marshal(s.Get(mesosmaster.Call_GET_TASKS, true).GetTasks)
	if strings.Contains(string(b), "hush") {
		t.Errorf("the state carries the environment: %s", b)
	}
}

func TestDockerInspectIsOnTheStream(t *testing.T) {
	c := paperCluster(t)
	s := subscribe(t, c.MasterURL(), "application/json")
	s.has(t, "HEARTBEAT")
	if err := c.CreateApp(testContext(t), `{"id":"/img","cmd":"sleep 1000","cpus":0.1,"mem":32,"instances":1,"env":{"PASSWORD":"hush"},
		"networks":[{"mode":"container/bridge"}],"container":{"type":"DOCKER","docker":{"image":"alpine"}}}`); err != nil {
		t.Fatal(err)
	}
	s.has(t, "TASK_UPDATED", `"data":"`)
	for _, r := range s.records() {
		var e struct {
			TaskUpdated struct {
				Status struct{ State, Data string }
			} `json:"task_updated"`
		}
		if json.Unmarshal(r, &e) != nil || e.TaskUpdated.Status.State == "" {
			continue
		}
		status := e.TaskUpdated.Status
		data, err := base64.StdEncoding.DecodeString(status.Data)
		running := status.State == "TASK_RUNNING"
		if err != nil || running != strings.Contains(string(data), "PASSWORD=hush") {
			t.Errorf("%s carries %q, %v", status.State, data, err)
		}
		if hasIP := strings.Contains(string(r), `"ip_address":"172.17.0.2"`); hasIP != running { // the agent's own before it runs
			t.Errorf("addresses at %s: %s", status.State, r)
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS() // for its certificate
	defer srv.Close()
	c := paperCluster(t, func(cfg *sim.Config) { cfg.TLS = &tls.Config{Certificates: srv.TLS.Certificates} })
	if err := c.CreateApp(testContext(t), webApp); err != nil {
		t.Fatal(err)
	}
	resp, err := c.Client().Post(c.MasterURL()+"/api/v1", "application/json", strings.NewReader(`{"type":"GET_HEALTH"}`))
	if err != nil || resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("%v %v", resp, err)
	}
	if err == nil {
		resp.Body.Close()
	}
}
