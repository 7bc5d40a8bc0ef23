package controller

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// TestMessagesOfOthersStopNobody: somebody who may write everywhere publishes by
// mistake into each stream. Who leads goes on, the host gets its items, and the
// next leader begins.
func TestMessagesOfOthersStopNobody(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	if _, err := Call[ApplyResult](t.Context(), p.conn, SubjectApply, change("ann")); err != nil {
		t.Fatal(err)
	}
	p.say(c, events.Event{ID: "h1", Kind: events.HostPut, Host: &events.Host{Agent: "a1", Name: "h1", Reachable: true}})
	t.Cleanup(p.background(func(ctx context.Context) error { return work.ServeCatchup(ctx, p.conn, nil) }, context.Canceled))
	host, err := work.Subscribe(t.Context(), p.conn, "h1", work.Position{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // the test is over
	p.report("h1", work.Report{Join: &events.Join{Host: "h1"}})
	got := uint64(0)
	next := func() {
		t.Helper()
		it, err := host.Next(t.Context())
		if err != nil || it.Rev != got+1 {
			t.Fatalf("the host got %+v, %v after %d", it, err, got)
		}
		got = it.Rev
	}
	next()

	intrude := func() {
		t.Helper()
		for _, subject := range []string{
			bus.EventsSubject, bus.WorkSubject("h1"), bus.WorkSubject("h2"), "WORK.not_a_host", bus.FenceSubject, bus.ReportsSubject("h1"),
			bus.CheckpointsSubject, bus.SnapshotSubject(1), bus.PositionSubject("controller"),
		} {
			if _, err := p.conn.JS.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte("hello")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for epoch := uint64(2); epoch <= 3; epoch++ {
		intrude()
		p.say(c, webTask(int(epoch)))
		next()
		intrude()
		end()
		if last, err := work.LastEpoch(t.Context(), p.conn.JS); err != nil || last != epoch-1 {
			t.Errorf("the last epoch is %d, %v", last, err)
		}
		term, err := p.newTermOf(epoch, 0)
		if err != nil {
			t.Fatal(err)
		}
		var stop func()
		c, stop = p.start("next", 1000)
		resign := p.lead(c, term)
		end = func() { resign(); stop() }
		p.say(c, webTask(10+int(epoch)))
		next()
	}
	end()
	if _, err := work.NewPublisher(t.Context(), p.conn.JS, 2); err == nil {
		t.Error("an earlier epoch takes over after a message of others among the claims")
	}
}
