package timeline_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/timeline"
)

var update = flag.Bool("update", false, "write what comes out now as what is wanted")

// story is a small history: a web app deployed, allowed to reach a database,
// forbidden again, its host lost and returned, and its end.
type story struct {
	now     time.Time
	log     []events.Entry
	reports []work.StoredReport
}

func (s *story) say(ev events.Event) {
	s.now = s.now.Add(time.Second)
	seq := uint64(len(s.log) + 1)
	ev.Schema, ev.ID, ev.Time, ev.Received = events.Schema, fmt.Sprint(seq), s.now, s.now
	s.log = append(s.log, events.Entry{Seq: seq, Event: ev})
}

func (s *story) report(r work.Report) {
	s.now = s.now.Add(time.Second)
	r.Seq, r.ID, r.Time = uint64(len(s.reports)+1), "r", s.now
	s.reports = append(s.reports, work.StoredReport{Report: r, Stored: s.now})
}

func (s *story) task(id, host, state string, labels map[string]string) {
	s.say(events.Event{Kind: events.TaskPut, Task: &events.Task{
		Framework: "fw", ID: id, Executor: id, Agent: "agent-" + host, State: state, Containerizer: "mesos",
		Networks: []events.Network{{Name: "taskwall"}}, Labels: labels,
	}})
}

func (s *story) host(name string, reachable bool) {
	s.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + name, Name: name, Address: "192.168.50.1", Reachable: reachable}})
}

func (s *story) wired(id, host string, state events.WiringState, took time.Duration, err string) {
	s.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{Host: host, Endpoint: "fw/" + id, State: state, Took: took, Error: err}})
}

func (s *story) policy(author, commit string, put []string, del ...events.ResourceKey) {
	c := &events.PolicyChange{Author: author, Commit: commit, Delete: del}
	for _, text := range put {
		var head struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := json.Unmarshal([]byte(text), &head); err != nil {
			panic(err)
		}
		c.Put = append(c.Put, events.Resource{File: "shop.yaml", Line: 7, Body: json.RawMessage(text),
			ResourceKey: events.ResourceKey{Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name}})
	}
	s.say(events.Event{Kind: events.PolicyApply, Policy: c})
}

func resource(kind, name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"projectcalico.org/v3","kind":%q,"metadata":{"name":%q},"spec":{%s}}`, kind, name, spec)
}

const (
	web1 = "shop_web.instance-11111111-1111-1111-1111-111111111111._app.1"
	web2 = "shop_web.instance-22222222-2222-2222-2222-222222222222._app.1"
	db1  = "shop_db.instance-33333333-3333-3333-3333-333333333333._app.1"
)

func tell(t *testing.T) *story {
	t.Helper()
	s := &story{now: time.Date(2026, 3, 14, 14, 0, 0, 0, time.UTC)}
	denied := func(host, direction, policy string, index int, from, to string) {
		s.report(work.Report{Host: host, Logged: &work.Logged{Action: work.Deny, Direction: direction, Policy: policy, Index: index,
			Source: netip.MustParseAddr(from), Dest: netip.MustParseAddr(to), Protocol: 6, Port: 5432, Count: 3}})
	}
	s.host("h1", true)
	s.host("h2", true)
	s.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: "h1", Version: "1.2", Reason: "started", Report: 1}})
	s.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: "h2", Version: "1.2", Reason: "started", Report: 2}})
	s.say(events.Event{Kind: events.BGPSession, Session: &events.Session{Host: "h1", Peer: "rr1", Address: netip.MustParseAddr("192.168.50.254"),
		State: "established", Received: 3, Accepted: 2, Sent: 1, Report: 3}})
	s.say(events.Event{Kind: events.BGPRefused, Refused: &events.RouteRefusal{Host: "h1", Peer: "rr1", Prefix: netip.MustParsePrefix("0.0.0.0/0"),
		Reason: "no pool has it", Count: 2, Report: 4}})
	s.say(events.Event{Kind: events.BGPRefused, Refused: &events.RouteRefusal{Host: "h1", Peer: "rr1", Prefix: netip.MustParsePrefix("0.0.0.0/0"),
		Reason: "no pool has it", Count: 2, Report: 4}}) // again, after a controller died
	s.say(events.Event{Kind: events.HostDrain, Drain: &events.Drain{Host: "h1", On: true, By: "ann", Reason: "new disk"}})
	s.say(events.Event{Kind: events.HostDrain, Drain: &events.Drain{Host: "h1", By: "ann"}})
	s.say(events.Event{Kind: events.MarathonPut, Marathon: &events.Marathon{Framework: "fw", Name: "marathon"}})
	s.say(events.Event{Kind: events.AppPut, App: &events.App{ID: "/shop/web", Version: "v1", Instances: 1, Labels: map[string]string{"app": "web"}}})
	s.say(events.Event{Kind: events.DeploymentPut, Deployment: &events.Deployment{ID: "d1", Version: "v1", State: "running",
		Apps: []string{"/shop/web", "/shop/db"}, Actions: []string{"ScaleApplication /shop/db", "StartApplication /shop/web"}, Client: "10.0.0.7"}})
	s.task(web1, "h1", "TASK_STAGING", map[string]string{"app": "web", "taskwall.environment": "prod"})
	s.task(db1, "h2", "TASK_RUNNING", map[string]string{"app": "db", "taskwall.environment": "prod"})
	s.policy("ann", "c0ffee1", []string{resource("IPPool", "main", `"cidr":"10.8.0.0/24","blockSize":28`)})
	s.wired(web1, "h1", events.Failed, 0, "no such interface")
	s.wired(web1, "h1", events.Attached, 12345678, "")
	s.wired(web1, "h1", events.Attached, 0, "")
	s.task(web1, "h1", "TASK_RUNNING", map[string]string{"app": "web", "taskwall.environment": "prod"})
	denied("h1", "", "closed", -1, "10.8.0.16", "10.8.0.0")
	s.policy("ann", "c0ffee2", []string{
		resource("GlobalNetworkPolicy", "web", `"selector":"app == 'web'","egress":[{"action":"Allow","protocol":"TCP","destination":{"selector":"app == 'db'","ports":[5432]}}],"types":["Egress"]`),
		resource("GlobalNetworkPolicy", "db", `"selector":"app == 'db'","ingress":[{"action":"Allow","protocol":"TCP","source":{"selector":"app == 'web'"}}],"types":["Ingress"]`),
		resource("GlobalNetworkPolicy", "other", `"selector":"app == 'other'"`),
		resource("GlobalNetworkSet", "office", `"nets":["192.0.2.0/24"]`),
	})
	s.policy("bob", "", []string{resource("GlobalNetworkPolicy", "other", `"selector":"app == 'other'","types":["Egress"]`)})
	s.policy("bob", "c0ffee3", []string{
		resource("GlobalNetworkPolicy", "web", `"selector":"app == 'web'","egress":[{"action":"Allow","protocol":"TCP","destination":{"selector":"app == 'office'"}}],"types":["Egress"]`)})
	denied("h1", "egress", "default", -1, "10.8.0.16", "10.8.0.0")
	denied("h2", "ingress", "GlobalNetworkPolicy db", 0, "192.0.2.9", "10.8.0.0")
	s.policy("bob", "c0ffee4", []string{
		`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkSet","metadata":{"name":"office","labels":{"app":"office"}},"spec":{"nets":["192.0.2.0/24","198.51.100.1"]}}`})
	s.task(web2, "h2", "TASK_STAGING", map[string]string{"app": "web"})
	s.task(web2, "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	s.host("h1", false)
	s.host("h1", true)
	s.report(work.Report{Host: "h1", Drift: &work.Drift{What: "iptables filter: 3 rules missing"}})
	s.report(work.Report{Host: "h1", Applied: &work.Applied{Rev: 9, Cut: 2, Failed: []work.Failure{{Key: "endpoint fw/" + web1, Error: "no veth"}}}})
	s.report(work.Report{Host: "h2", Applied: &work.Applied{Rev: 9, Digest: "x"}})
	s.policy("eve", "c0ffee5", nil, events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "web"})
	s.say(events.Event{Kind: events.TaskPut, Task: &events.Task{Framework: "fw", ID: web1, Executor: web1, Agent: "agent-h1", State: "TASK_KILLED",
		Networks: []events.Network{{Name: "taskwall"}}, Labels: map[string]string{"app": "web", "taskwall.environment": "prod"}, Reason: "REASON_TASK_KILLED_DURING_LAUNCH", Message: "scaled down"}})
	s.wired(web1, "h1", events.Detached, time.Millisecond, "")
	s.say(events.Event{Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/" + web1}})
	s.say(events.Event{Kind: events.HostGone, Gone: &events.Gone{Key: "agent-h2", Reason: "removed"}})
	s.say(events.Event{Kind: events.AppGone, Gone: &events.Gone{Key: "/shop/web"}})
	return s
}

func (s *story) of(t *testing.T, state *scheduler.State, subject timeline.Subject, from, to time.Time) string {
	t.Helper()
	var b strings.Builder
	for e, err := range timeline.New(state, subject).Tell(all(s.log), all(s.reports), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		place := fmt.Sprintf("#%d", e.Seq)
		if e.Seq == 0 {
			place = fmt.Sprintf("r%d", e.Report)
		}
		fmt.Fprintf(&b, "%s %-4s %-13s %s\n", e.Time.Format(time.TimeOnly), place, e.Kind, e.Text)
	}
	return b.String()
}

func all[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// TestStory tells one history for each kind of subject.
func TestStory(t *testing.T) {
	t.Parallel()
	for name, subject := range map[string]timeline.Subject{
		"app":     {App: "/shop/web"},
		"task":    {Task: web2},
		"address": {Address: netip.MustParseAddr("10.8.0.16")},
		"host":    {Host: "h1"},
		"policy":  {Policy: "web"},
		"db":      {Policy: "GlobalNetworkPolicy db"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tell(t).of(t, scheduler.NewState(), subject, time.Time{}, time.Time{})
			file := "testdata/" + name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestWindow tells the middle of a story, from a state in the middle of the
// log: the same lines as of the whole story, no others.
func TestWindow(t *testing.T) {
	t.Parallel()
	s := tell(t)
	subject := timeline.Subject{App: "/shop/web"}
	lines := strings.SplitAfter(s.of(t, scheduler.NewState(), subject, time.Time{}, time.Time{}), "\n")
	from, to := s.log[17].Event.Received, s.log[25].Event.Received
	want := ""
	for _, line := range lines {
		if line != "" && line[:8] >= from.Format(time.TimeOnly) && line[:8] <= to.Format(time.TimeOnly) {
			want += line
		}
	}
	state := scheduler.NewState()
	for _, e := range s.log[:17] {
		state.Apply(e)
	}
	if d := cmp.Diff(want, s.of(t, state, subject, from, to)); d != "" || want == "" {
		t.Error(d)
	}
}

func TestHoldings(t *testing.T) {
	t.Parallel()
	s := tell(t)
	address := netip.MustParseAddr("10.8.0.16")
	list, err := timeline.Holdings(scheduler.NewState(), address, 19, all(s.log))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	h := list[0]
	if h.Holder.Task != web1 || h.Holder.App != "/shop/web" || h.Holder.State != "TASK_RUNNING" || h.Holder.Posture != "" || !h.Known || h.From.Seq != 15 || h.Until == nil || h.Until.Seq != 30 || !h.Until.Time.Equal(s.log[29].Event.Received) {
		t.Errorf("held: %+v", h)
	}
	for seq, held := range map[uint64]bool{14: false, 15: true, 29: true, 30: false} {
		if got := timeline.At(list, seq) != nil; got != held {
			t.Errorf("held at %d: %v", seq, got)
		}
	}
	read := uint64(0)
	if _, err := timeline.Holdings(scheduler.NewState(), address, 19, func(yield func(events.Entry, error) bool) {
		for _, e := range s.log {
			if read = e.Seq; !yield(e, nil) {
				return
			}
		}
	}); err != nil || read != 30 {
		t.Errorf("read the log to %d, not to the end of the holding at 30; %v", read, err)
	}
	middle := scheduler.NewState()
	for _, e := range s.log[:20] {
		middle.Apply(e)
	}
	list, err = timeline.Holdings(middle, address, 20, all(s.log[20:25]))
	if err != nil || len(list) != 1 || list[0].Known || list[0].From.Seq != 20 || list[0].Until != nil {
		t.Errorf("from the middle on: %+v, %v", list, err)
	}
}
