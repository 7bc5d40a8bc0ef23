package work_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WORK_TEST_DIR"); dir != "" {
		serve(dir)
		return
	}
	bustest.Main(m)
}

func item(host string, rev uint64) *work.Item {
	return &work.Item{Host: host, Rev: rev, Cause: 100 + rev, Endpoints: []work.Endpoint{{ID: fmt.Sprintf("fw/%d", rev)}}}
}

func snapshot(host string, rev uint64) *work.Item {
	it := item(host, rev)
	it.Snapshot = true
	return it
}

func publisher(t *testing.T, c *bus.Conn, epoch uint64) *work.Publisher {
	t.Helper()
	p, err := work.NewPublisher(bustest.Context(t), c.JS, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func publish(t *testing.T, p *work.Publisher, items ...*work.Item) {
	t.Helper()
	if err := p.Publish(bustest.Context(t), items...); err != nil {
		t.Fatal(err)
	}
}

// catchup runs the controllers' answering service for the test.
func catchup(t *testing.T, c *bus.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- work.ServeCatchup(ctx, c, bustest.Log(t)) }()
	for { // until it is there to be asked
		_, err := c.NATS.RequestWithContext(bustest.Context(t), bus.CatchupSubject("nobody"), []byte("0"))
		if err == nil {
			break
		}
		if !errors.Is(err, nats.ErrNoResponders) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("serving missed items ended with %v", err)
		}
	})
}

func subscribe(t *testing.T, c *bus.Conn, host string, after work.Position) *work.Subscription {
	t.Helper()
	s, err := work.Subscribe(bustest.Context(t), c, host, after, bustest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // the test is over
	return s
}

func wantNext(t *testing.T, s *work.Subscription, revs ...uint64) {
	t.Helper()
	for _, rev := range revs {
		it, err := s.Next(bustest.Context(t))
		if err != nil {
			t.Fatalf("waiting for item %d: %v", rev, err)
		}
		if it.Rev != rev {
			t.Fatalf("got item %d, want %d", it.Rev, rev)
		}
	}
}

// stored are all items in the stream, as "host:rev".
func stored(t *testing.T, c *bus.Conn) []string {
	t.Helper()
	var all []string
	for st, err := range work.ReadItems(bustest.Context(t), c.JS, 0) {
		if err != nil || st.Err != nil {
			t.Fatal(err, st.Err)
		}
		all = append(all, fmt.Sprintf("%s:%d@%d", st.Host, st.Rev, st.Epoch))
	}
	return all
}

func TestItemsReachTheirHost(t *testing.T) {
	c := bustest.Streams(t)
	a, b := subscribe(t, c, "node.a", work.Position{}), subscribe(t, c, "node.b", work.Position{})
	p := publisher(t, c, 1)
	publish(t, p, snapshot("node.a", 1), snapshot("node.b", 1), item("node.a", 2))
	publish(t, p, item("node.b", 2))
	wantNext(t, a, 1, 2)
	wantNext(t, b, 1, 2)
	if got := b.Position(); got.Rev != 2 || got.Seq == 0 {
		t.Errorf("the position is %+v", got)
	}
}

// An empty host has no use for steps from a picture that it does not have.
func TestEmptyHostStartsWithASnapshot(t *testing.T) {
	c := bustest.Streams(t)
	p := publisher(t, c, 1)
	publish(t, p, snapshot("a", 1), item("a", 2))
	s := subscribe(t, c, "a", work.Position{})
	publish(t, p, item("a", 3), snapshot("a", 4), item("a", 5))
	wantNext(t, s, 4, 5)
}

func TestHostGoesOnWhereItWas(t *testing.T) {
	c := bustest.Streams(t)
	catchup(t, c)
	p := publisher(t, c, 1)
	s := subscribe(t, c, "a", work.Position{})
	publish(t, p, snapshot("a", 1), item("a", 2))
	wantNext(t, s, 1, 2)
	at := s.Position()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, p, item("a", 3), item("b", 1), item("a", 4))
	s = subscribe(t, c, "a", at)
	publish(t, p, item("a", 5))
	wantNext(t, s, 3, 4, 5)
}

func TestPublishSkipsWhatWasPublished(t *testing.T) {
	c := bustest.Streams(t)
	p := publisher(t, c, 1)
	publish(t, p, item("a", 1), item("a", 2), item("b", 1))
	publish(t, p, item("a", 2), item("b", 1), item("b", 2))
	p = publisher(t, c, 2)
	if got := p.Sent()["a"]; got != 2 {
		t.Errorf("the last revision of a is %d", got)
	}
	publish(t, p, item("a", 1), item("a", 2), item("a", 3))
	if err := p.Publish(bustest.Context(t), item("b", 3), item("a", 5)); !errors.Is(err, work.ErrGap) {
		t.Errorf("a gap got %v", err)
	}
	if got, want := fmt.Sprint(stored(t, c)), "[a:1@1 a:2@1 b:1@1 b:2@1 a:3@2]"; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
}

// Once a later publisher has begun, the earlier cannot reach any host, also
// none that the later has not yet sent anything.
func TestLaterPublisherFencesEarlier(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	old := publisher(t, c, 7)
	publish(t, old, item("a", 1), item("b", 1))
	young := publisher(t, c, 8)
	for range 2 {
		if err := old.Publish(ctx, item("b", 2)); !errors.Is(err, work.ErrFenced) {
			t.Errorf("the earlier publisher got %v", err)
		}
		if err := old.Publish(ctx, item("c", 1), item("a", 2)); !errors.Is(err, work.ErrFenced) {
			t.Errorf("the earlier publisher's batch got %v", err)
		}
	}
	publish(t, young, item("b", 2))
	if _, err := work.NewPublisher(ctx, c.JS, 7); !errors.Is(err, work.ErrFenced) {
		t.Errorf("a publisher of an earlier epoch got %v", err)
	}
	if got, want := fmt.Sprint(stored(t, c)), "[a:1@7 b:1@7 b:2@8]"; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
}

func TestReports(t *testing.T) {
	ctx, cancel := context.WithCancel(bustest.Context(t))
	c := bustest.Streams(t)
	if _, err := c.JS.Publish(ctx, bus.ReportsSubject("rogue"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	r := work.NewReporter(c, "node.1")
	rep := work.Report{ID: "x", Host: "someone-else", Time: time.Now(), Join: &events.Join{Host: "someone-else", Reason: "start"}}
	for range 2 { // sent twice, kept once
		if err := r.Report(ctx, rep); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Report(ctx, work.Report{Applied: &work.Applied{Rev: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := r.Report(ctx, work.Report{}); err == nil {
		t.Error("an empty report was sent")
	}

	boom := errors.New("boom")
	var got []work.Report
	follow := func(fn func(work.Report) error) error {
		return work.FollowReports(ctx, c.JS, "controller", work.From{}, func(_ context.Context, rs []work.Report) error {
			for _, r := range rs {
				if err := fn(r); err != nil {
					return err
				}
			}
			return nil
		}, bustest.Log(t))
	}
	if err := follow(func(r work.Report) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("following ended with %v", err)
	}
	err := follow(func(r work.Report) error { // what failed comes again
		if got = append(got, r); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("following ended with %v", err)
	}
	if got[0].Join == nil {
		got[0], got[1] = got[1], got[0]
	}
	if j := got[0].Join; j == nil || j.Host != "node.1" || got[0].Host != "node.1" || j.Reason != "start" {
		t.Errorf("the first report is %+v", got[0])
	}
	if a := got[1].Applied; a == nil || a.Rev != 3 || got[1].ID == "" {
		t.Errorf("the second report is %+v", got[1])
	}
}

// TestReportsWaitForNoneThatNeverComes: the server's count of what is still to
// come can be too high; what came is taken all the same.
func TestReportsWaitForNoneThatNeverComes(t *testing.T) {
	ctx, cancel := context.WithCancel(bustest.Context(t))
	c := bustest.Streams(t)
	if err := work.NewReporter(c, "node-1").Report(ctx, work.Report{Applied: &work.Applied{Rev: 3}}); err != nil {
		t.Fatal(err)
	}
	err := work.FollowReports(ctx, overstating{c.JS}, "controller", work.From{}, func(_ context.Context, rs []work.Report) error {
		if len(rs) != 1 || rs[0].Applied == nil {
			t.Errorf("the reports are %+v", rs)
		}
		cancel()
		return nil
	}, bustest.Log(t))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("following ended with %v", err)
	}
}

// overstating counts one message too many in all that it delivers.
type overstating struct{ jetstream.JetStream }

func (o overstating) OrderedConsumer(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	c, err := o.JetStream.OrderedConsumer(ctx, stream, cfg)
	return overstatingConsumer{c}, err
}

type overstatingConsumer struct{ jetstream.Consumer }

func (o overstatingConsumer) Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	it, err := o.Consumer.Messages(opts...)
	return overstatingMessages{it}, err
}

type overstatingMessages struct{ jetstream.MessagesContext }

func (o overstatingMessages) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	msg, err := o.MessagesContext.Next(opts...)
	return overstatingMsg{msg}, err
}

type overstatingMsg struct{ jetstream.Msg }

func (o overstatingMsg) Metadata() (*jetstream.MsgMetadata, error) {
	meta, err := o.Msg.Metadata()
	if err != nil {
		return nil, err
	}
	meta.NumPending++
	return meta, nil
}
