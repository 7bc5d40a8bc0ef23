package controller

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

func TestMain(m *testing.M) {
	watchEvery = time.Hour
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*Server).AcceptLoop"))
}

// place is a message bus with its streams, on which controllers take turns.
type place struct {
	t    *testing.T
	conn *bus.Conn
}

func newPlace(t *testing.T) *place {
	t.Helper()
	server, err := bus.StartServer(bus.ServerOptions{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	conn, err := bus.Connect(t.Context(), bus.Options{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if err := bus.EnsureStreams(t.Context(), conn.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	return &place{t, conn}
}

// start runs a controller that folds along, until it is stopped.
func (p *place) start(name string, every uint64) (c *Controller, stop func()) {
	p.t.Helper()
	log := slog.New(slog.DiscardHandler)
	history, err := eventlog.Open(p.t.Context(), p.conn.JS, eventlog.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	c = New(Config{
		Name: name, Log: history, NATS: p.conn.NATS, Logger: log,
		Stored:   func(ctx context.Context) (uint64, map[string]uint64, error) { return work.LastStored(ctx, p.conn.JS) },
		Settings: events.DefaultSettings(), SnapshotEvery: every,
		Sources: func(Sink, *events.Cluster, time.Time) ([]Source, error) { return nil, nil },
		Reports: func(ctx context.Context, from work.From, fn func(context.Context, []work.Report) error) error {
			return work.FollowReports(ctx, p.conn.JS, "controller", from, fn, log)
		},
	})
	return c, p.background(c.Follow, nil)
}

// background runs a function until the one that it returns is called, and
// checks how it ends.
func (p *place) background(run func(context.Context) error, want error) (stop func()) {
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, want) {
			p.t.Errorf("it ended with %v", err)
		}
	})
}

// newTerm is a term on the place's message bus.
func (p *place) newTerm(epoch uint64) Term {
	p.t.Helper()
	history, err := eventlog.Open(p.t.Context(), p.conn.JS, eventlog.Options{Epoch: epoch})
	if err != nil {
		p.t.Fatal(err)
	}
	publisher, err := work.NewPublisher(p.t.Context(), p.conn.JS, epoch)
	if err != nil {
		p.t.Fatal(err)
	}
	return Term{Epoch: epoch, Log: history, Publisher: publisher, Sent: publisher.Sent()}
}

// lead lets a controller lead, and returns when it does.
func (p *place) lead(c *Controller, term Term) (stop func()) {
	p.t.Helper()
	if err := c.CanLead(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	stop = p.background(func(ctx context.Context) error { return c.Lead(ctx, term) }, nil)
	p.untilLeads(term.Epoch)
	return stop
}

func (p *place) untilLeads(epoch uint64) {
	p.t.Helper()
	p.until("a leader", func() bool {
		st, err := Call[Status](p.t.Context(), p.conn, SubjectStatus, struct{}{})
		return err == nil && st.Controllers[0].Epoch == epoch
	})
}

// term runs a controller that leads until the returned function is called.
func (p *place) term(epoch uint64, every uint64) (c *Controller, end func()) {
	p.t.Helper()
	c, stop := p.start(fmt.Sprint("c", epoch), every)
	resign := p.lead(c, p.newTerm(epoch))
	return c, func() { resign(); stop() }
}

func (p *place) until(what string, yes func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !yes() {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %s within 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *place) report(host string, r work.Report) {
	p.t.Helper()
	if err := work.NewReporter(p.conn, host).Report(p.t.Context(), r); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) say(c *Controller, evs ...events.Event) {
	p.t.Helper()
	for i := range evs {
		evs[i].Schema, evs[i].Source = events.Schema, "mesos"
		evs[i].Time, evs[i].Received = time.Now().UTC(), time.Now().UTC()
	}
	if err := c.append(p.t.Context(), evs...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) status() Status {
	p.t.Helper()
	st, err := Call[Status](p.t.Context(), p.conn, SubjectStatus, struct{}{})
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// items are all that were published.
func (p *place) items() []*work.Item {
	p.t.Helper()
	var items []*work.Item
	for s, err := range work.ReadItems(p.t.Context(), p.conn.JS, 0) {
		if err != nil {
			p.t.Fatal(err)
		}
		it, err := s.Item()
		if err != nil {
			p.t.Fatal(err)
		}
		items = append(items, it)
	}
	return items
}

// replay checks that exactly what the log makes was published.
func (p *place) replay() {
	p.t.Helper()
	log, err := eventlog.Open(p.t.Context(), p.conn.JS, eventlog.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	published := p.items()
	r, err := scheduler.Replay(log.Read(p.t.Context(), 1), func(yield func(*work.Item, error) bool) {
		for _, it := range published {
			if !yield(it, nil) {
				return
			}
		}
	}, nil)
	if err != nil || r.First != nil || r.Equal != len(published) || r.Items != len(published) {
		p.t.Errorf("replay: %+v, %v", r, err)
	}
}

func change(author string) ApplyRequest {
	put := func(kind, name, body string) events.Resource {
		return events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Name: name}, File: "p.yaml", Line: 1,
			Body: json.RawMessage(body)}
	}
	return ApplyRequest{Change: events.PolicyChange{Author: author, Put: []events.Resource{
		put("IPPool", "main", `{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"main"},"spec":{"cidr":"10.8.0.0/24"}}`),
		put("GlobalNetworkPolicy", "web", `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"web"},
			"spec":{"selector":"app == 'web'","types":["Egress"],"egress":[{"action":"Allow","protocol":"TCP"}]}}`),
	}}}
}

func webTask(n int) events.Event {
	id := fmt.Sprintf("web.%d", n)
	return events.Event{ID: id, Kind: events.TaskPut, Task: &events.Task{
		Framework: "fw", ID: id, Executor: id, Agent: "a1", State: "TASK_STAGING",
		Networks: []events.Network{{Name: "taskwall"}}, Labels: map[string]string{"app": "web"},
	}}
}

// TestTermsFollowOnEachOther lets one controller follow another, from a
// snapshot and without one: none says again what was said, each goes on where
// the last stopped, and the log makes exactly what was published.
func TestTermsFollowOnEachOther(t *testing.T) {
	p := newPlace(t)
	first, end := p.term(1, 3)
	if _, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, change("ann")); err != nil {
		t.Fatal(err)
	}
	p.say(first, events.Event{ID: "h1", Kind: events.HostPut, Host: &events.Host{Agent: "a1", Name: "h1", Address: "192.0.2.1", Reachable: true}})
	p.report("h1", work.Report{Join: &events.Join{Host: "h1", Address: "192.0.2.1"}})
	p.until("join", func() bool { st := p.status(); return len(st.Hosts) == 1 && st.Hosts[0].State == "ready" })
	p.say(first, webTask(1), webTask(2))
	p.until("two tasks", func() bool { return len(p.status().Endpoints) == 2 })
	p.until("their items", func() bool { st := p.status(); return st.Log.Folded == st.Log.Last }) // else the next term publishes them
	before := p.status()
	end()
	said := len(p.items())
	if said == 0 {
		t.Fatal("nothing was published")
	}

	for epoch := uint64(2); epoch <= 3; epoch++ {
		c, end := p.term(epoch, 1000)
		after := p.status()
		if a, b := fmt.Sprintf("%+v", before.Endpoints), fmt.Sprintf("%+v", after.Endpoints); a != b {
			t.Errorf("epoch %d sees\n%s\nand the one before saw\n%s", epoch, b, a)
		}
		if n := len(p.items()); n != said {
			t.Errorf("epoch %d published %d items again", epoch, n-said)
		}
		p.say(c, webTask(int(epoch)+10))
		p.until("one task more", func() bool { return len(p.status().Endpoints) == len(before.Endpoints)+1 })
		p.until("its item", func() bool { return len(p.items()) > said }) // the status is of what is folded
		said, before = len(p.items()), p.status()
		end()
	}
	p.replay()
}

// A change that the log cannot hold is refused before it is sent, with words.
func TestTooLargeAPolicyChangeIsRefused(t *testing.T) {
	p := newPlace(t)
	noise := make([]byte, 6_600_000) // as text, which s2 does not make smaller, 8.8 MB
	rand.NewChaCha8([32]byte{}).Read(noise)
	large := change("ann").Change
	large.Put[0].Body = append(base64.StdEncoding.AppendEncode([]byte(`"`), noise), '"')
	if err := Fits(p.conn.NATS, large); err == nil || !strings.Contains(err.Error(), "too large for one change") {
		t.Errorf("a change of 8.8 MB: %v", err)
	}
	if err := Fits(p.conn.NATS, change("ann").Change); err != nil {
		t.Error(err)
	}
}

func TestPolicyChangeIsCheckedBeforeTheLog(t *testing.T) {
	p := newPlace(t)
	_, end := p.term(1, 1000)
	defer end()
	bad := change("ann")
	bad.Change.Put[1].Body = json.RawMessage(strings.Replace(string(bad.Change.Put[1].Body), "app == 'web'", "app = 'web'", 1))
	last := p.status().Log.Last
	if _, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, bad); err == nil || !strings.Contains(err.Error(), "p.yaml") {
		t.Errorf("the error is %v", err)
	}
	if _, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, change("")); err == nil {
		t.Error("a change without an author was taken")
	}
	if now := p.status().Log.Last; now != last {
		t.Errorf("the log went from %d to %d", last, now)
	}
}

// TestApplyWaitsForTheHosts: the answer comes when the hosts that the change
// concerns have reported it, and says how long each took.
func TestApplyWaitsForTheHosts(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	defer end()
	if _, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, change("ann")); err != nil {
		t.Fatal(err)
	}
	p.say(c, events.Event{ID: "h1", Kind: events.HostPut, Host: &events.Host{Agent: "a1", Name: "h1", Reachable: true}})
	p.report("h1", work.Report{Join: &events.Join{Host: "h1"}})
	p.until("join", func() bool { st := p.status(); return len(st.Hosts) == 1 && st.Hosts[0].Rev == 1 })
	p.say(c, webTask(1))
	p.until("the task's item", func() bool { st := p.status(); return len(st.Hosts) == 1 && st.Hosts[0].Rev == 2 })

	req := change("bob")
	req.Change.Put = req.Change.Put[1:]
	req.Change.Put[0].Body = json.RawMessage(strings.Replace(string(req.Change.Put[0].Body), "TCP", "UDP", 1))
	req.Wait = 10 * time.Second
	answer := make(chan ApplyResult, 1)
	go func() {
		r, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, req)
		if err != nil {
			t.Error(err)
		}
		answer <- r
	}()
	p.until("the change's item", func() bool { return p.status().Hosts[0].Rev == 3 })
	select {
	case r := <-answer:
		t.Fatalf("the answer came before the host had reported: %+v", r)
	default:
	}
	p.report("h1", work.Report{Time: time.Now().UTC(), Applied: &work.Applied{Rev: 3}})
	if r := <-answer; r.Hosts["h1"] <= 0 {
		t.Errorf("the answer is %+v", r)
	}
}
