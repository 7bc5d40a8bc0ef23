package sim_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	gomarathon "github.com/gambol99/go-marathon"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/apierrors"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpmaster"
	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/master/calls"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// paperCluster is two hosts on paper with Marathon.
func paperCluster(t *testing.T, change ...func(*sim.Config)) *sim.Cluster {
	t.Helper()
	cfg := sim.Config{Seed: 5, Hosts: []sim.Host{{Name: "h1"}, {Name: "h2"}}}
	for _, f := range change {
		f(&cfg)
	}
	c, err := sim.Start(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestHTTPRulesOfTheMaster: the answers of a real master to what is not quite a
// call (recorded: http-edge).
func TestHTTPRulesOfTheMaster(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.NoMarathon, cfg.Hosts = true, nil })
	const (
		unsupported = "Expecting 'Content-Type' of application/json or application/x-protobuf"
		unaccepted  = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
		subscribe   = `{"type":"SUBSCRIBE"}`
	)
	for _, tt := range []struct {
		method, contentType, accept, body string
		status                            int
		answer                            string
	}{
		{"GET", "", "", "", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"POST", "application/x-www-form-urlencoded", "", subscribe, 415, unsupported},
		{"POST", "text/plain", "", subscribe, 415, unsupported},
		{"POST", "", "", subscribe, 400, "Expecting 'Content-Type' to be present"},
		{"POST", "application/json", "text/html", subscribe, 406, unaccepted},
		{"POST", "application/json", "application/recordio", subscribe, 406, unaccepted},
		{"POST", "application/json", "", `{"type":"NOSUCH"}`, 400, "Failed to validate master::Call: Expecting 'type' to be present"},
		{"POST", "application/json", "", `{}`, 400, "Failed to validate master::Call: Expecting 'type' to be present"},
		{"POST", "application/json", "", `{bad`, 400, "Failed to parse body into JSON: syntax error at line 1 near: bad"},
		{"POST", "application/x-protobuf", "", "\xff\xff", 400, "Failed to parse body into Call protobuf"},
		{"POST", "application/json", "*/*", `{"type":"GET_HEALTH"}`, 200, `{"type":"GET_HEALTH","get_health":{"healthy":true}}`},
		{"POST", "application/json", "application/x-protobuf, application/json", `{"type":"GET_HEALTH"}`, 200, `{"type":"GET_HEALTH","get_health":{"healthy":true}}`},
		{"POST", "application/json", "application/json", `{"type":"GET_VERSION"}`, 200, `{"type":"GET_VERSION","get_version":{"version_info":{"version":"1.12.0","build_date":"2026-11-23 00:00:00 UTC","build_time":1795392000.0,"build_user":"root","git_sha":"c1b42f79d157aa900be5cbb0c1023f1479962aa7"}}}`},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, c.MasterURL()+"/api/v1", strings.NewReader(tt.body))
		if tt.contentType != "" {
			req.Header.Set("Content-Type", tt.contentType)
		}
		if tt.accept != "" {
			req.Header.Set("Accept", tt.accept)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || string(b) != tt.answer {
			t.Errorf("%s %s accepting %q: %d %s, want %d %s", tt.method, tt.body, tt.accept, resp.StatusCode, b, tt.status, tt.answer)
		}
		if tt.status == 405 && resp.Header.Get("Allow") != "POST" {
			t.Errorf("405 without Allow: %v", resp.Header)
		}
	}

	resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_MASTER"}`)
	b, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(b), `"capabilities":[{"type":"AGENT_UPDATE"},{"type":"AGENT_DRAINING"},{"type":"QUOTA_V2"}]`) {
		t.Errorf("GET_MASTER: %s", b)
	}

	stream := post(t, c.MasterURL()+"/api/v1", subscribe, "Accept", "application/json", "Accept-Encoding", "gzip")
	if stream.Header.Get("Content-Encoding") != "" || stream.Header.Get("Mesos-Stream-Id") != "" ||
		stream.Header.Get("Content-Type") != "application/json" || len(stream.TransferEncoding) != 1 {
		t.Errorf("stream headers: %v %v", stream.Header, stream.TransferEncoding)
	}
}

func TestLargeAnswersAreZippedOnRequest(t *testing.T) {
	c := paperCluster(t)
	resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_STATE"}`, "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("headers %v", resp.Header)
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !bytes.HasPrefix(b, []byte(`{"type":"GET_STATE"`)) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestMastersOfOneCluster: a standby points to the leader, without a scheme; a
// new leader takes the agents and frameworks over; while nobody leads, 503.
func TestMastersOfOneCluster(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Masters = 2 })
	ctx := testContext(t)
	leader, standby := c.MasterURLs()[0], c.MasterURLs()[1]
	resp := post(t, standby+"/api/v1", `{"type":"GET_HEALTH"}`)
	want := strings.TrimPrefix(leader, "http:") + "/api/v1"
	if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != want {
		t.Errorf("%d to %q, want 307 to %q", resp.StatusCode, resp.Header.Get("Location"), want)
	}
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil {
		t.Fatal(err)
	}
	if err := c.StopMaster(); err != nil {
		t.Fatal(err)
	}
	if c.MasterURL() != standby {
		t.Errorf("leader is %s", c.MasterURL())
	}
	eventually(t, "agents and tasks at the new leader", func() bool {
		r := c.Master().Get(mesosmaster.Call_GET_STATE, true).GetState
		return len(r.GetAgents.Agents) == 2 && len(r.GetTasks.Tasks) == 2
	})
	if err := c.StopMaster(); err != nil {
		t.Fatal(err)
	}
	if _, err := transport.RoundTrip(mustRequest(t, standby)); err == nil {
		t.Error("a stopped master should refuse connections")
	}
	if err := c.StartMasters(); err != nil {
		t.Fatal(err)
	}
	m := c.Master()
	for phase, status := range map[master.Phase]int{master.Starting: 404, master.Recovering: 503} {
		m.SetPhase(phase)
		if resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_HEALTH"}`); resp.StatusCode != status {
			t.Errorf("phase %d: %d, want %d", phase, resp.StatusCode, status)
		}
	}
	m.SetPhase(master.Ready)
}

func mustRequest(t *testing.T, url string) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestStreamLimits: the oldest stream beyond the limit goes silent without
// being closed, and heartbeats can be held back.
func TestStreamLimits(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Streams, cfg.Heartbeat = 2, 10*time.Millisecond })
	var streams []*operatorStream
	for range 3 {
		s := subscribe(t, c.MasterURL(), "application/json")
		s.has(t, "HEARTBEAT")
		streams = append(streams, s)
	}
	if c.Master().Streams() != 2 {
		t.Errorf("%d streams", c.Master().Streams())
	}
	n := len(streams[2].records())
	eventually(t, "heartbeats", func() bool { return len(streams[2].records()) > n+3 })
	before := len(streams[0].records())
	eventually(t, "more heartbeats", func() bool { return len(streams[1].records()) > n+6 })
	if after := len(streams[0].records()); after > before+1 {
		t.Errorf("the evicted stream got %d more records", after-before)
	}
	select {
	case <-streams[0].done:
		t.Error("the evicted stream was closed")
	default:
	}
	c.CutStreams()
	<-streams[1].done
}

func TestBasicAuthOfMesos(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.MesosUsers = map[string]string{"ops": "secret"} })
	resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_HEALTH"}`)
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != `Basic realm="mesos-master-readwrite"` {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp := post(t, c.MasterURL()+"/api/v1", `{"type":"GET_HEALTH"}`, "Authorization", "Basic b3BzOnNlY3JldA=="); resp.StatusCode != 200 {
		t.Errorf("with credentials: %d", resp.StatusCode)
	}
}

// TestMesosGoClient: the library that the controller uses understands stream
// and answers in both encodings, and the redirect of a standby.
func TestMesosGoClient(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Masters = 2 })
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 2); err != nil {
		t.Fatal(err)
	}
	for _, media := range []struct {
		name  string
		codec httpcli.Opt
	}{
		{"protobuf", httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf])},
		{"json", httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeJSON])},
	} {
		t.Run(media.name, func(t *testing.T) {
			cli := httpcli.New(httpcli.Endpoint(c.MasterURL()+"/api/v1"), media.codec)
			sender := httpmaster.NewSender(cli.Send)
			resp, err := sender.Send(ctx, calls.NonStreaming(calls.Subscribe()))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Close()
			var e mesosmaster.Event
			if err := resp.Decode(&e); err != nil || e.Type != mesosmaster.Event_SUBSCRIBED || len(e.Subscribed.GetState.GetTasks.Tasks) != 2 {
				t.Fatalf("%v %v", err, e)
			}
			if err := resp.Decode(&e); err != nil || e.Type != mesosmaster.Event_HEARTBEAT {
				t.Fatalf("%v %v", err, e)
			}
			got, err := sender.Send(ctx, calls.NonStreaming(calls.GetAgents()))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			var r mesosmaster.Response
			if err := got.Decode(&r); err != nil || len(r.GetAgents.Agents) != 2 {
				t.Fatalf("%v %v", err, r)
			}
		})
	}
	cli := httpcli.New(httpcli.Endpoint(c.MasterURLs()[1] + "/api/v1"))
	resp, err := httpmaster.NewSender(cli.Send).Send(ctx, calls.NonStreaming(calls.GetHealth()))
	if resp != nil {
		defer resp.Close()
	}
	if !apierrors.CodeNotLeader.Matches(err) {
		t.Errorf("standby: %v", err)
	}
}

// TestGoMarathonClient: the old client, whose apps know no networks, creates,
// scales, changes and deletes; its ipAddress becomes a network.
func TestGoMarathonClient(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	cfg := gomarathon.NewDefaultConfig()
	cfg.URL = c.MarathonURL()
	cfg.EventsTransport = gomarathon.EventsTransportSSE
	cfg.HTTPClient = &http.Client{}
	cli, err := gomarathon.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := cli.Ping(); !ok || err != nil {
		t.Fatalf("ping: %v %v", ok, err)
	}
	info, err := cli.Info()
	if err != nil || info.FrameworkID != c.Marathon.FrameworkID() || info.FrameworkID == "" {
		t.Errorf("info %+v, %v", info, err)
	}
	app := gomarathon.NewDockerApplication().Name("/old/app").CPU(0.1).Memory(16).Count(2)
	app.Container = nil
	app.Command("sleep 1000").AddLabel("tier", "db")
	app.IPAddressPerTask = &gomarathon.IPAddressPerTask{NetworkName: "taskwall", Labels: &map[string]string{"net": "blue"}}
	if _, err := cli.CreateApplication(app); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil { // Marathon hears of a start after Mesos
		t.Fatal(err)
	}
	got, err := cli.Application("/old/app")
	if err != nil || *got.Instances != 2 || (*got.Labels)["tier"] != "db" || got.TasksRunning != 2 || len(got.Tasks) != 2 || got.IPAddressPerTask != nil {
		t.Errorf("%+v, %v", got, err)
	}
	var raw struct {
		App struct{ Networks []map[string]any }
	}
	if err := c.Get(ctx, "/v2/apps/old/app", &raw); err != nil || fmt.Sprint(raw.App.Networks) != "[map[labels:map[net:blue] mode:container name:taskwall]]" {
		t.Errorf("networks %v, %v", raw.App.Networks, err)
	}
	if tasks := c.TasksOf("/old/app"); tasks[0].Address == "" || tasks[0].Labels["tier"] != "db" {
		t.Errorf("task %+v", tasks[0])
	}
	if _, err := cli.ScaleApplicationInstances("/old/app", 3, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/old/app", 3); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	before := c.TasksOf("/old/app")
	update := gomarathon.NewDockerApplication().Name("/old/app")
	update.Container = nil
	update.AddLabel("tier", "cache")
	id, err := cli.UpdateApplication(update, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := cli.WaitOnDeployment(id.DeploymentID, 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	for _, task := range c.TasksOf("/old/app") {
		if task.Labels["tier"] != "cache" || task.ID == before[0].ID {
			t.Errorf("after the roll: %+v", task)
		}
	}
	versions, err := cli.ApplicationVersions("/old/app")
	if err != nil || len(versions.Versions) != 3 {
		t.Errorf("versions %v, %v", versions, err)
	}
	if _, err := cli.ApplicationByVersion("/old/app", versions.Versions[2]); err != nil {
		t.Error(err)
	}
	if _, err := cli.DeleteApplication("/old/app", false); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Application("/old/app"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a deleted app: %v", err)
	}
	if left := c.Tasks(); len(left) != 0 {
		t.Errorf("tasks left: %v", left)
	}
}
