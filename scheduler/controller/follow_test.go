package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// populate gives the cluster policies and one host that has joined.
func (p *place) populate(c *Controller) {
	p.t.Helper()
	if _, err := Call[ApplyResult](p.t.Context(), p.conn, SubjectApply, change("ann")); err != nil {
		p.t.Fatal(err)
	}
	p.say(c, events.Event{ID: "h1", Kind: events.HostPut, Host: &events.Host{Agent: "a1", Name: "h1", Address: "192.0.2.1", Reachable: true}})
	p.report("h1", work.Report{Join: &events.Join{Host: "h1", Address: "192.0.2.1"}})
	p.until("join", func() bool { st := p.status(); return len(st.Hosts) == 1 && st.Hosts[0].State == "ready" })
}

func settled(c *Controller) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled
}

// TestFollowersFoldAlong: one that does not lead has folded what the leader
// has published, has published nothing itself, and shows in the status.
func TestFollowersFoldAlong(t *testing.T) {
	p := newPlace(t)
	a, stopA := p.start("a", 1000)
	defer stopA()
	b, stopB := p.start("b", 1000)
	defer stopB()
	resign := p.lead(a, p.newTerm(1))
	p.populate(a)
	for n := range 20 {
		p.say(a, webTask(n))
	}
	p.until("b beside the leader", func() bool { last := p.status().Log.Last; return settled(a) == last && settled(b) == last })
	p.until("b in the status", func() bool {
		all := p.status().Controllers
		return len(all) == 2 && all[0].Name == "a" && all[1].Name == "b" && all[1].Epoch == 0 && all[1].Folded == all[0].Folded
	})
	said := len(p.items())
	resign()

	defer p.lead(b, p.newTerm(2))()
	p.say(b, webTask(100))
	p.until("the new leader's item", func() bool { return len(p.items()) == said+1 })
	p.replay()
}

// mute is a publisher that publishes nothing until it is told to fail.
type mute struct{ fail chan error }

func (m mute) Publish(ctx context.Context, _ ...*work.Item) error {
	select {
	case err := <-m.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestWhatALeaderOwesIsPublished: a leader stops between folding and
// publishing. Who takes over has the items, and so has the same controller
// when it leads again.
func TestWhatALeaderOwesIsPublished(t *testing.T) {
	for _, again := range []bool{false, true} {
		p := newPlace(t)
		a, stopA := p.start("a", 1000)
		b, stopB := p.start("b", 1000)
		resign := p.lead(a, p.newTerm(1))
		p.populate(a)
		// What is folded may not be published yet; the mute one below would owe it.
		p.until("all published", func() bool { return settled(a) == p.status().Log.Last })
		resign()
		said := len(p.items())

		term := p.newTerm(2)
		term.Publisher = mute{}
		resign = p.lead(a, term)
		p.say(a, webTask(1), webTask(2), webTask(3))
		p.until("a to have folded", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.last == a.state.Seq() && len(a.state.View().Endpoints) == 3
		})
		resign()
		if n := len(p.items()); n != said {
			t.Fatalf("%d items were published", n-said)
		}
		next := b
		if again {
			next = a
		}
		resign = p.lead(next, p.newTerm(3))
		p.until("what was owed", func() bool { return len(p.items()) == said+3 })
		p.replay()
		resign()
		stopA()
		stopB()
	}
}

// TestADeposedLeaderStops: one whose lease was lost without its knowledge can
// neither append nor publish any more, and its term ends.
func TestADeposedLeaderStops(t *testing.T) {
	p := newPlace(t)
	a, stopA := p.start("a", 1000)
	defer stopA()
	b, stopB := p.start("b", 1000)
	defer stopB()
	ended := make(chan error, 1)
	defer p.background(func(ctx context.Context) error {
		ended <- a.Lead(ctx, p.newTerm(1))
		return nil
	}, nil)()
	p.untilLeads(1)
	p.populate(a)
	resign := p.lead(b, p.newTerm(2)) // a is not told
	before := p.status().Log.Last
	err := a.append(t.Context(), stamped(webTask(7)))
	if !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("the append of the deposed leader: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, eventlog.ErrFenced) {
			t.Errorf("its term ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("its term goes on")
	}
	resign()
	defer p.lead(b, p.newTerm(3))()
	if st := p.status(); st.Log.Last != before+1 || len(st.Endpoints) != 0 { // the new term's own record
		t.Errorf("the log went from %d to %d, %d endpoints", before, st.Log.Last, len(st.Endpoints))
	}
	p.replay()
}

func stamped(ev events.Event) events.Event {
	ev.Schema, ev.Source, ev.Time, ev.Received = events.Schema, "mesos", time.Now().UTC(), time.Now().UTC()
	return ev
}

// TestAHostCannotHoldUpTheOthers: a report that can't go into the log is passed
// over, and those beside it are not.
func TestAHostCannotHoldUpTheOthers(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	defer end()
	p.populate(c)
	before := p.status().Log.Last
	wired := func(id, text string) work.Report {
		return work.Report{ID: id, Host: "h1", Wiring: &events.Wiring{Endpoint: "fw/web.1", State: events.Failed, Error: text}}
	}
	if err := c.report(t.Context(), []work.Report{
		wired(strings.Repeat("x", 2000), ""), wired("a bell \a", ""), wired("large", strings.Repeat("x", bus.MaxUnpacked)), wired("good", ""),
	}); err != nil {
		t.Fatal(err)
	}
	if now := p.status().Log.Last; now != before+1 {
		t.Errorf("the log went from %d to %d, by more or less than the good report", before, now)
	}
}
