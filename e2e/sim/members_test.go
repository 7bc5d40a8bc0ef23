package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/clock"
)

// TestMembersOfOneMarathon: a standby proxies all but the event stream, which
// it redirects; a change of leader cuts the streams.
func TestMembersOfOneMarathon(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.Marathons = 2 })
	leader, standby := c.MarathonURLs()[0], c.MarathonURLs()[1]
	resp, err := transport.RoundTrip(mustRequest(t, standby+"/v2/info"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info struct{ Elected bool }
	_ = json.NewDecoder(resp.Body).Decode(&info)
	if !info.Elected || resp.Header.Get("Via") == "" || resp.Header.Get("X-Marathon-Leader") != leader {
		t.Errorf("proxied info %+v %v", info, resp.Header)
	}
	if s := dialEvents(t, standby, "?event_type=x", "text/event-stream"); !strings.HasPrefix(s.head, "HTTP/1.1 302 ") ||
		!strings.Contains(s.head, "Location: "+leader+"/v2/events?event_type=x\r\n") {
		t.Errorf("stream of a standby: %s", s.head)
	}
	s := openEvents(t, leader, "")
	s.collect(isKind("event_stream_attached"))
	c.Marathon.ChangeLeader()
	for kind := "-"; kind != ""; kind, _ = s.next() {
	}
	s = openEvents(t, standby, "")
	s.collect(isKind("event_stream_attached"))
	if s := dialEvents(t, leader, "", "text/event-stream"); !strings.HasPrefix(s.head, "HTTP/1.1 302 ") {
		t.Errorf("the old leader: %s", s.head)
	}
	c.Marathon.SetLeaderless(true)
	if resp, err := transport.RoundTrip(mustRequest(t, standby+"/ping")); err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("without a leader: %v %v", resp, err)
	}
}

func TestLostMasterCostsMarathonItsLeadership(t *testing.T) {
	c := paperCluster(t)
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	before, err := c.WaitRunning(ctx, "/shop/web", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s := openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	if err := c.RestartMaster(); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for {
		kind, _ := s.next()
		if kind == "" {
			break
		}
		kinds = append(kinds, kind)
	}
	if len(kinds) > 1 || len(kinds) == 1 && kinds[0] != "scheduler_disconnected_event" {
		t.Errorf("last events %v", kinds)
	}
	s = openEvents(t, c.MarathonURL(), "")
	s.collect(isKind("event_stream_attached"))
	eventually(t, "the framework at the new master", func() bool {
		r := c.Master().Get(mesosmaster.Call_GET_STATE, true).GetState
		return len(r.GetFrameworks.Frameworks) == 1 && r.GetFrameworks.Frameworks[0].Active && len(r.GetTasks.Tasks) == 2
	})
	for _, e := range c.Marathon.Published()[len(c.Marathon.Published())-3:] {
		if e.Type == "status_update_event" {
			t.Errorf("reconciliation of unchanged tasks made an event: %s", e.Data)
		}
	}
	if after := c.TasksOf("/shop/web"); len(after) != 2 || after[0].ID != before[0].ID {
		t.Errorf("tasks %v, were %v", after, before)
	}
}

// TestStreamsThatAreNotServed: a leader that is not ready closes at once; a
// client that does not read is cut; events in the window after the 200 are
// lost.
func TestStreamsThatAreNotServed(t *testing.T) {
	t.Run("not ready", func(t *testing.T) {
		c := paperCluster(t, func(cfg *sim.Config) { cfg.NotReadyFor = time.Hour })
		s := openEvents(t, c.MarathonURL(), "")
		if kind, _ := s.next(); kind != "" {
			t.Errorf("got a %s", kind)
		}
	})
	t.Run("slow", func(t *testing.T) {
		c := paperCluster(t, func(cfg *sim.Config) { cfg.Outstanding = 8 })
		ctx := testContext(t)
		s := openEvents(t, c.MarathonURL(), "")
		kind, _ := s.next()
		if kind != "event_stream_attached" {
			t.Fatal(kind)
		}
		big := fmt.Sprintf(`{"id":"/big","cmd":"x","instances":0,"labels":{"x":%q}}`, strings.Repeat("x", 256<<10))
		if err := c.CreateApp(ctx, big); err != nil {
			t.Fatal(err)
		}
		for n := range 40 { // the socket fills up, then the queue
			if err := c.UpdateApp(ctx, "/big", fmt.Sprintf(`{"mem":%d}`, 10+n)); err != nil {
				t.Fatal(err)
			}
		}
		for kind := "-"; kind != ""; kind, _ = s.next() {
		}
		if errors.Is(s.err, os.ErrDeadlineExceeded) {
			t.Error("the stream was not cut")
		}
	})
	t.Run("attach window", func(t *testing.T) {
		m := clock.NewManual(time.Now())
		c := paperCluster(t, func(cfg *sim.Config) { cfg.Clock, cfg.AttachLag = m, time.Minute })
		ctx := testContext(t)
		waiting := m.Waiting()
		s := openEvents(t, c.MarathonURL(), "")
		eventually(t, "the window", func() bool { return m.Waiting() == waiting+1 })
		if err := c.CreateApp(ctx, `{"id":"/lost","cmd":"x","instances":0}`); err != nil {
			t.Fatal(err)
		}
		m.Advance(time.Minute)
		if kind, _ := s.next(); kind != "event_stream_attached" {
			t.Errorf("first record is %s", kind)
		}
	})
}

func TestBasicAuthOfMarathon(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.MarathonUsers = map[string]string{"ops": "secret"} })
	for _, path := range []string{"/ping", "/v2/apps", "/v2/events"} {
		resp, err := transport.RoundTrip(mustRequest(t, c.MarathonURL()+path))
		if err != nil || resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != `Basic realm="Mesosphere"` {
			t.Errorf("%s: %v %v", path, resp, err)
		}
	}
	if err := c.CreateApp(testContext(t), webApp); err != nil {
		t.Error(err)
	}
}
