package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// publishThrough publishes as a controller does that does not give up.
func publishThrough(t *testing.T, p *work.Publisher, items ...*work.Item) {
	t.Helper()
	ctx := bustest.Context(t)
	for {
		err := p.Publish(ctx, items...)
		if err == nil {
			return
		}
		if ctx.Err() != nil || errors.Is(err, work.ErrFenced) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Items that were published while a host was cut off are fetched when it is
// back, without anything new coming.
func TestHostCatchesUpAfterTheServersRestart(t *testing.T) {
	node := bustest.NewNode(t)
	nodes := []*bustest.Node{node}
	controller, agent := bustest.ConnectNodes(t, nodes), bustest.ConnectNodes(t, nodes)
	if err := bus.EnsureStreams(bustest.Context(t), controller.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	catchup(t, controller)
	p := publisher(t, controller, 1)
	s := subscribe(t, agent, "a", work.Position{})
	publish(t, p, snapshot("a", 1))
	wantNext(t, s, 1)

	back := make(chan struct{})
	agent.OnReconnect(func() { close(back) })
	node.Stop()
	node.Start()
	publishThrough(t, p, item("a", 2), item("a", 3)) // the agent may be there again or not
	wantNext(t, s, 2, 3)
	<-back
	publishThrough(t, p, item("a", 4))
	wantNext(t, s, 4)
}

// live sends what the server would republish, without storing it: it is how
// a test loses, repeats and forges messages.
func live(t *testing.T, c *bus.Conn, host string, seq uint64, it any) {
	t.Helper()
	data, err := json.Marshal(it)
	if err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: bus.LiveSubject(host), Data: data, Header: nats.Header{
		"Nats-Stream": {bus.WorkStream}, "Nats-Subject": {bus.WorkSubject(host)}, "Nats-Sequence": {strconv.FormatUint(seq, 10)},
	}}
	if err := c.NATS.PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
}

func TestItemsThatAreLostForGood(t *testing.T) {
	c := bustest.Streams(t)
	catchup(t, c)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	publish(t, p, snapshot("a", 1))
	wantNext(t, s, 1)

	live(t, c, "a", 500, item("a", 9)) // 2 to 8 were never stored
	if it, err := s.Next(bustest.Context(t)); !errors.Is(err, work.ErrGap) {
		t.Fatalf("over a gap came %+v, %v", it, err)
	}
	// It waits for the snapshot that it must now ask for, also one of a lower sequence.
	publish(t, p, item("a", 2), snapshot("a", 3), item("a", 4))
	wantNext(t, s, 3, 4)
}

func TestGapWithoutAControllerToAsk(t *testing.T) {
	c := bustest.Streams(t)
	s := subscribe(t, c, "a", work.Position{})
	live(t, c, "a", 1, snapshot("a", 1))
	live(t, c, "a", 3, item("a", 3))
	wantNext(t, s, 1)
	if it, err := s.Next(bustest.Context(t)); !errors.Is(err, work.ErrGap) {
		t.Fatalf("over a gap came %+v, %v", it, err)
	}
}

func TestForgedAndBrokenMessagesArePassedOver(t *testing.T) {
	c := bustest.Streams(t)
	catchup(t, c)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	publish(t, p, snapshot("a", 1))
	wantNext(t, s, 1)

	forged, err := json.Marshal(item("a", 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []nats.Header{
		nil,
		{"Nats-Stream": {"WORK"}},
		{"Nats-Stream": {"WORK"}, "Nats-Sequence": {"77"}},
		{"Nats-Stream": {"WORK"}, "Nats-Sequence": {"77"}, "Nats-Subject": {bus.WorkSubject("b")}},
		{"Nats-Stream": {"REPORTS"}, "Nats-Sequence": {"77"}, "Nats-Subject": {bus.WorkSubject("a")}},
		{"Nats-Stream": {"WORK"}, "Nats-Sequence": {"-1"}, "Nats-Subject": {bus.WorkSubject("a")}},
		{"Nats-Stream": {"WORK"}, "Nats-Sequence": {"77"}, "Nats-Subject": {bus.WorkSubject("a")}, "Taskwall-Encoding": {"s2"}},
		{"Nats-Stream": {"WORK"}, "Nats-Sequence": {"77"}, "Nats-Subject": {bus.WorkSubject("a")}, "Taskwall-Encoding": {"lzma"}},
	} {
		if err := c.NATS.PublishMsg(&nats.Msg{Subject: bus.LiveSubject("a"), Header: h, Data: forged}); err != nil {
			t.Fatal(err)
		}
	}
	live(t, c, "a", 78, "not an item")
	live(t, c, "a", 79, item("b", 2))
	live(t, c, "a", 80, item("a", 0))
	publish(t, p, item("a", 2))
	publish(t, p, item("a", 3))
	wantNext(t, s, 2, 3)
}

// A host that is busy for long drops what comes meanwhile, in bounded memory,
// and fetches it afterwards.
func TestSlowHost(t *testing.T) {
	c := bustest.Streams(t)
	catchup(t, c)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	const n = 900 // more than waits, less than what is worth a snapshot
	items := []*work.Item{snapshot("a", 1)}
	for rev := uint64(2); rev <= n; rev++ {
		items = append(items, item("a", rev))
	}
	publish(t, p, items...)
	for rev := uint64(1); rev <= n; rev++ {
		wantNext(t, s, rev)
	}
}

func TestHostThatMissedTooMuchAsksForASnapshot(t *testing.T) {
	c := bustest.Streams(t)
	catchup(t, c)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	publish(t, p, snapshot("a", 1))
	wantNext(t, s, 1)
	at := s.Position()
	s.Close() //nolint:errcheck // it is replaced
	var items []*work.Item
	for rev := uint64(2); rev <= 1500; rev++ {
		items = append(items, item("a", rev))
	}
	publish(t, p, items...)
	s = subscribe(t, c, "a", at)
	for {
		_, err := s.Next(bustest.Context(t))
		if errors.Is(err, work.ErrGap) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(t, p, snapshot("a", 1501))
	wantNext(t, s, 1501)
}

// The whole way of an agent with an agent's rights: join, picture, a missed
// item, a report; and not a step more.
func TestAgentWithItsOwnRightsOnly(t *testing.T) {
	ctx := bustest.Context(t)
	users := &bus.Users{Agents: map[string]string{}}
	key := func() ([]byte, string) {
		seed, public, err := bus.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		return seed, public
	}
	controllerSeed, public := key()
	users.Controller = public
	auditorSeed, public := key()
	users.Auditor = public
	agentSeed, public := key()
	users.Agents["node.1"] = public
	_, users.Agents["node.2"] = key()
	srv := bustest.Server(t, func(o *bus.ServerOptions) { o.Users = users })
	controller := bustest.Connect(t, srv, func(o *bus.Options) { o.NKeySeed = controllerSeed })
	agent := bustest.Connect(t, srv, func(o *bus.Options) { o.NKeySeed, o.Host = agentSeed, "node.1" })
	auditor := bustest.Connect(t, srv, func(o *bus.Options) { o.NKeySeed, o.Auditor = auditorSeed, true })
	if err := bus.EnsureStreams(ctx, controller.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	catchup(t, controller)
	p := publisher(t, controller, 1)
	publish(t, p, item("node.1", 1), item("node.2", 1))

	s := subscribe(t, agent, "node.1", work.Position{})
	r := work.NewReporter(agent, "node.1")
	if err := r.Report(ctx, work.Report{Join: &events.Join{Host: "node.2"}}); err != nil {
		t.Fatal(err)
	}
	done := errors.New("done")
	err := work.FollowReports(ctx, controller.JS, "controller", work.From{}, func(_ context.Context, reps []work.Report) error {
		if len(reps) != 1 || reps[0].Join == nil || reps[0].Join.Host != "node.1" {
			return fmt.Errorf("the reports are %+v", reps)
		}
		return done
	}, nil)
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	publish(t, p, snapshot("node.1", 2))
	wantNext(t, s, 2)
	at := s.Position()
	s.Close() //nolint:errcheck // it is replaced
	publish(t, p, item("node.1", 3))
	wantNext(t, subscribe(t, agent, "node.1", at), 3)

	if err := work.NewReporter(agent, "node.2").Report(ctx, work.Report{Join: &events.Join{}}); !errors.Is(err, bus.ErrDenied) {
		t.Errorf("a report for another host: %v", err)
	}
	other, err := work.Subscribe(ctx, agent, "node.2", work.Position{}, nil)
	if err == nil {
		_, err = other.Next(ctx)
		other.Close() //nolint:errcheck // the test is over
	}
	if !errors.Is(err, bus.ErrDenied) {
		t.Errorf("another host's items: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := work.NewPublisher(short, agent.JS, 99); err == nil {
		t.Error("an agent could lay claim to the publishing of work items")
	}
	n := 0
	for st, err := range work.ReadItems(ctx, auditor.JS, 0) {
		if err != nil {
			t.Fatal(err)
		}
		it, err := st.Item()
		if n++; err != nil || it.Key() != st.Key || st.Epoch != 1 {
			t.Errorf("the auditor read %+v", st)
		}
	}
	if n != 4 {
		t.Errorf("the auditor read %d items of 4", n)
	}
}

// An item of a host with very many peers is larger than a message may be.
func TestLargeItemTravelsPacked(t *testing.T) {
	c := bustest.Streams(t)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	it := snapshot("a", 1)
	set := work.Set{ID: "big", Type: work.Nets}
	for i := range 300_000 {
		set.Members = append(set.Members, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	it.Sets = []work.Set{set}
	publish(t, p, it)
	got, err := s.Next(bustest.Context(t))
	if err != nil || len(got.Sets) != 1 || len(got.Sets[0].Members) != 300_000 {
		t.Fatalf("got %v", err)
	}
}
