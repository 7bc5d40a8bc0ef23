package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// restore puts an older backup of a stream, which ends at a sequence, in its
// place.
func (p *place) restore(stream string, to uint64) {
	p.t.Helper()
	ctx := p.t.Context()
	cfg, err := bus.StreamConfig(ctx, p.conn.JS, stream)
	if err != nil {
		p.t.Fatal(err)
	}
	var backup []*jetstream.RawStreamMsg
	for msg, err := range bus.Fetch(ctx, p.conn.JS, stream, "", 1, to) {
		if err != nil {
			p.t.Fatal(err)
		}
		backup = append(backup, msg)
	}
	if err := p.conn.JS.DeleteStream(ctx, stream); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.JS.CreateStream(ctx, cfg); err != nil {
		p.t.Fatal(err)
	}
	for _, msg := range backup {
		for _, condition := range []string{jetstream.ExpectedLastSeqHeader, jetstream.ExpectedLastSubjSeqHeader, jetstream.ExpectedLastSubjSeqSubjHeader, "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
			msg.Header.Del(condition)
		}
		if _, err := p.conn.JS.PublishMsg(ctx, &nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// newTermOf is a term as a controller begins one, or why it does not.
func (p *place) newTermOf(epoch, accept uint64) (t Term, err error) {
	publisher, err := work.NewPublisher(p.t.Context(), p.conn.JS, epoch)
	if err != nil {
		return t, err
	}
	o := eventlog.Options{Epoch: epoch, AcceptLost: accept}
	if o.Caused, err = work.LastCause(p.t.Context(), p.conn.JS); err != nil {
		return t, err
	}
	log, err := eventlog.Open(p.t.Context(), p.conn.JS, o)
	if err != nil {
		return t, err
	}
	return Term{Epoch: epoch, Log: log, Publisher: publisher, Sent: publisher.Sent(), Recovered: log.Recovered()}, nil
}

func (p *place) rev(host string) uint64 {
	for _, h := range p.status().Hosts {
		if h.Name == host {
			return h.Rev
		}
	}
	return 0
}

// TestTheLogIsRestoredFromAnOlderBackup: hosts and their items are newer than
// the log. Nobody leads; when the loss is accepted, what is new reaches the
// hosts, and does not pass for what they have.
func TestTheLogIsRestoredFromAnOlderBackup(t *testing.T) {
	p := newPlace(t)
	c, stop := p.start("c", 1000)
	defer stop()
	resign := p.lead(c, p.newTerm(1))
	p.populate(c)
	backup := p.status().Log.Last
	p.say(c, webTask(1), webTask(2))
	p.until("items", func() bool { return p.rev("h1") >= 3 })
	p.report("h1", work.Report{Wiring: &events.Wiring{Endpoint: "fw/web.1", State: events.Attached}})
	last := backup + 3
	p.until("the word of the host", func() bool { return settled(c) == last })
	have := p.rev("h1")
	resign()
	p.restore(bus.EventsStream, backup)

	_, err := p.newTermOf(2, 0)
	var lost *eventlog.LostError
	if !errors.As(err, &lost) || lost.End != backup {
		t.Fatalf("a term on it: %v", err)
	}
	p.until("the follower to begin anew", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.state.Seq() == backup
	})
	term, err := p.newTermOf(3, lost.Was)
	if err != nil || !term.Recovered {
		t.Fatalf("a term on it, accepted: %v, %v", term.Recovered, err)
	}
	resign = p.lead(c, term)
	p.until("the whole picture", func() bool { return p.rev("h1") > have })
	at := len(p.items())
	if it := p.items()[at-1]; !it.Snapshot || it.Rev != have+1 {
		t.Fatalf("the host, which has %d, got %d, a whole picture: %v", have, it.Rev, it.Snapshot)
	}
	p.say(c, webTask(3))
	p.until("an item of what is new", func() bool { return len(p.items()) == at+1 && p.items()[at].Rev == have+2 })
	for e, err := range c.cfg.Log.(*eventlog.Log).Read(t.Context(), backup+1) { // the report is in the log again
		if err != nil {
			t.Fatal(err)
		}
		if e.Event.Wiring != nil {
			at = 0
		}
	}
	if at != 0 {
		t.Error("what the host reported since the backup is not taken up again")
	}
	resign()

	// Once it is made up for, nothing needs to be accepted, and nothing is said anew.
	said := len(p.items())
	if term, err = p.newTermOf(4, 0); err == nil {
		resign = p.lead(c, term)
		defer resign()
	}
	if now := len(p.items()); err != nil || term.Recovered || now != said {
		t.Errorf("the next term: %v, %d items instead of %d", err, now, said)
	}
}

// TestAHostIsNewerThanTheLog: all streams were restored, and only the hosts know.
func TestAHostIsNewerThanTheLog(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	defer end()
	p.populate(c)
	p.report("h1", work.Report{Join: &events.Join{Host: "h1", Address: "192.0.2.1", Rev: 50}})
	p.until("a picture that the host takes", func() bool { return p.rev("h1") == 51 })
	p.say(c, webTask(1))
	p.until("an item", func() bool { return p.rev("h1") == 52 })
	p.report("h1", work.Report{Join: &events.Join{Host: "h1", Rev: 1<<64 - 1}}) // not to be believed
	p.until("a picture", func() bool { return p.rev("h1") == 53 })
	if items := p.items(); items[len(items)-1].Rev != 53 || !items[len(items)-1].Snapshot {
		t.Errorf("the last item is %+v", items[len(items)-1])
	}
}

// TestTheReportsAreRestoredFromAnOlderBackup: new reports have the places of
// ones that were read. They must not be passed over in silence.
func TestTheReportsAreRestoredFromAnOlderBackup(t *testing.T) {
	p := newPlace(t)
	c, stop := p.start("c", 1000)
	defer stop()
	resign := p.lead(c, p.newTerm(1))
	p.populate(c)
	for range 3 {
		p.report("h1", work.Report{Join: &events.Join{Host: "h1", Address: "192.0.2.1"}})
	}
	p.until("joins", func() bool { return p.rev("h1") == 4 })
	resign()
	p.restore(bus.ReportsStream, 2)

	err := c.Lead(t.Context(), p.newTerm(2))
	var rewound *work.RewoundError
	if !errors.As(err, &rewound) || rewound.End != 2 || rewound.Was != 4 {
		t.Fatalf("the term ended with %v", err)
	}
	// As the operator is told.
	if err := p.conn.JS.DeleteStream(t.Context(), bus.ReportsStream); err != nil {
		t.Fatal(err)
	}
	for range 2 { // made, and brought up to date
		if err := bus.EnsureStreams(t.Context(), p.conn.JS, bus.Retention{}, 1); err != nil {
			t.Fatal(err)
		}
	}
	defer p.lead(c, p.newTerm(3))()
	before := p.rev("h1")
	p.report("h1", work.Report{Time: time.Now(), Join: &events.Join{Host: "h1", Address: "192.0.2.1"}})
	p.until("the join after that", func() bool { return p.rev("h1") == before+1 })
}

// TestTheLogIsOfAnotherCluster: two clusters' controllers on one message bus.
func TestTheLogIsOfAnotherCluster(t *testing.T) {
	p := newPlace(t)
	named := func(name string) (c *Controller, stop func()) {
		c, stop = p.start("controller of "+name, 1000)
		c.cfg.Settings.Cluster = name
		return c, stop
	}
	unnamed, stop := p.start("a", 1000)
	resign := p.lead(unnamed, p.newTerm(1))
	p.populate(unnamed)
	resign()
	stop()
	east, stop := named("east") // the name comes later
	p.lead(east, p.newTerm(2))()
	stop()
	for i, name := range []string{"west", ""} {
		other, stop := named(name)
		made := false
		other.cfg.Sources = func(Sink, *events.Cluster, time.Time) ([]Source, error) {
			made = true
			return nil, nil
		}
		if err := other.Lead(t.Context(), p.newTerm(uint64(3+i))); !errors.Is(err, ErrOtherCluster) || made { //nolint:gosec // not negative
			t.Errorf("a controller of %q: %v, it looked at its cluster: %v", name, err, made)
		}
		stop()
	}
	east, stop = named("east")
	defer stop()
	defer p.lead(east, p.newTerm(9))()
	if st := p.status(); len(st.Hosts) != 1 || st.Settings.Cluster != "east" {
		t.Errorf("then the log has %d hosts, and is of %q", len(st.Hosts), st.Settings.Cluster)
	}
}

// shortened is a log that seems to end early: NATS was started with an older store.
type shortened struct {
	TermLog
	at uint64
}

func (s shortened) Append(context.Context, ...events.Event) (uint64, error) { return s.at, nil }

// ledOnce is a controller that has led, and follows on. All is published up to the
// log's last record.
func (p *place) ledOnce() (c *Controller, last uint64) {
	p.t.Helper()
	c, stop := p.start("c", 1000)
	p.t.Cleanup(stop)
	resign := p.lead(c, p.newTerm(1))
	p.populate(c)
	last = p.status().Log.Last
	p.until("all published", func() bool { return settled(c) == last })
	resign()
	return c, last
}

// TestTheStoreIsPutBackUnderAController: what it begins its term with has the place
// of a record that it has folded. It must not lead with what it knew.
func TestTheStoreIsPutBackUnderAController(t *testing.T) {
	p := newPlace(t)
	c, last := p.ledOnce()
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	term := p.newTerm(2)
	term.Log = shortened{term.Log, last}
	if err := c.Lead(t.Context(), term); !errors.Is(err, errReplaced) {
		t.Fatalf("the term ended with %v", err)
	}
	if err := c.CanLead(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	if c.state == state || c.state.Seq() != last {
		t.Errorf("the log was not folded again, or to %d instead of %d", c.state.Seq(), last)
	}
	c.mu.Unlock()
	p.lead(c, p.newTerm(3))()
}

// TestTheLogIsMadeAnewUnderAController: then there is nothing to fold, and a
// controller may lead.
func TestTheLogIsMadeAnewUnderAController(t *testing.T) {
	p := newPlace(t)
	c, last := p.ledOnce()
	p.restore(bus.EventsStream, 0)
	p.until("the follower to begin anew", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.state.Seq() == 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.CanLead(ctx); err != nil {
		t.Fatal(err)
	}
	term, err := p.newTermOf(2, last)
	if err != nil {
		t.Fatal(err)
	}
	p.lead(c, term)()
}
