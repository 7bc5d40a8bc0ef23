package eventlog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// follower collects what Follow gives, in the background.
type follower struct {
	seqs chan uint64
	ids  []string // to be read when done
	done chan error
	stop context.CancelFunc
}

func follow(t *testing.T, l *Log, from uint64) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{seqs: make(chan uint64, 10_000), done: make(chan error, 1), stop: cancel}
	go func() {
		f.done <- l.Follow(ctx, from, func(e events.Entry) error {
			f.ids = append(f.ids, e.Event.ID)
			f.seqs <- e.Seq
			return nil
		})
		close(f.done)
	}()
	t.Cleanup(func() {
		cancel()
		for range f.done { //nolint:revive // until it is closed
		}
	})
	return f
}

// until waits for a record, and checks that all come in order.
func (f *follower) until(t *testing.T, from, to uint64) {
	t.Helper()
	for next := from; next <= to; next++ {
		select {
		case seq := <-f.seqs:
			if seq != next {
				t.Fatalf("record %d came where %d was due", seq, next)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("record %d did not come", next)
		}
	}
}

// appendThrough appends as a source does that does not give up.
func appendThrough(t *testing.T, l *Log, evs ...events.Event) {
	t.Helper()
	ctx := bustest.Context(t)
	for {
		_, err := l.Append(ctx, evs...)
		if err == nil {
			return
		}
		if ctx.Err() != nil || errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestFollowFromTheMiddleIntoThePresent(t *testing.T) {
	l := newLog(t, Options{})
	mustAppend(t, l, taskEvents("old", 1500)...)
	f := follow(t, l, 700)
	f.until(t, 700, 1500)
	mustAppend(t, l, taskEvent("new"))
	f.until(t, 1501, 1501)
	f.stop()
	if err := <-f.done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
}

func TestFollowEndsWithTheFoldsError(t *testing.T) {
	l := newLog(t, Options{})
	mustAppend(t, l, taskEvents("e", 3)...)
	boom := errors.New("boom")
	n := 0
	err := l.Follow(bustest.Context(t), 0, func(events.Entry) error {
		if n++; n == 2 {
			return boom
		}
		return nil
	})
	if !errors.Is(err, boom) || n != 2 {
		t.Errorf("Follow ended with %v after %d records", err, n)
	}
}

// The server goes away and comes back while one writes and another follows:
// every event is there once, in one chain.
func TestServerRestartsInTheMiddle(t *testing.T) {
	node := bustest.NewNode(t)
	c := bustest.ConnectNodes(t, []*bustest.Node{node})
	if err := bus.EnsureStreams(bustest.Context(t), c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	l, err := Open(bustest.Context(t), c.JS, Options{Epoch: 1, Key: testKey("log"), CheckpointEvery: 50})
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, l, 1)
	written := make(chan struct{}, 1000)
	done := make(chan struct{})
	const batches, size = 90, 7
	go func() {
		defer close(done)
		for i := range batches {
			appendThrough(t, l, taskEvents(fmt.Sprint("b", i), size)...)
			written <- struct{}{}
		}
	}()
	for range batches / 2 {
		<-written
	}
	node.Stop()
	node.Start()
	<-done
	f.until(t, 1, batches*size)
	all := ids(t, l, 1)
	if len(all) != batches*size {
		t.Fatalf("the log has %d records, want %d", len(all), batches*size)
	}
	for i, id := range all {
		if want := fmt.Sprintf("b%d-%d", i/size, i%size); id != want {
			t.Fatalf("record %d is %s, want %s", i+1, id, want)
		}
	}
	wantProblems(t, verify(t, l))
}

// An acknowledgement that is lost leaves the writer not knowing; it must
// neither write twice nor think that it was overtaken.
func TestLostAcknowledgement(t *testing.T) {
	l := newLog(t, Options{Epoch: 1})
	mustAppend(t, l, taskEvents("a", 2)...)
	twin := open(t, l, Options{Epoch: 1})
	twin.writer = l.writer // writes what l has written without l knowing
	mustAppend(t, twin, taskEvents("b", 3)...)

	if last := mustAppend(t, l, append(taskEvents("b", 3), taskEvent("c"))...); last != 6 {
		t.Fatalf("the log ends at %d, want 6", last)
	}
	if got, want := fmt.Sprint(ids(t, l, 1)), "[a-0 a-1 b-0 b-1 b-2 c]"; got != want {
		t.Fatalf("the log holds %s, want %s", got, want)
	}
}

// The same, so much later that the server has forgotten the ids of what it stored.
func TestLostAcknowledgementThatTheServerForgot(t *testing.T) {
	ctx := bustest.Context(t)
	l := newLog(t, Options{Epoch: 1})
	cfg, err := bus.StreamConfig(ctx, l.js, bus.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Duplicates = 100 * time.Millisecond // instead of two minutes
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, taskEvents("a", 2)...)
	twin := open(t, l, Options{Epoch: 1})
	twin.writer = l.writer // writes what l has written without l knowing
	mustAppend(t, twin, taskEvents("b", 3)...)
	for stored := 0; stored < 2; { // until one that came after these is forgotten
		ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: bus.EventsSubject, Header: nats.Header{jetstream.MsgIDHeader: {"foreign"}}})
		if err != nil {
			t.Fatal(err)
		}
		if !ack.Duplicate {
			stored++
		}
	}
	mustAppend(t, l, append(taskEvents("b", 3), taskEvent("c"))...)
	if got, want := fmt.Sprint(ids(t, l, 1)), "[a-0 a-1 b-0 b-1 b-2   c]"; got != want {
		t.Fatalf("the log holds %s, want %s", got, want)
	}
	wantProblems(t, verify(t, l))
}

func TestFollowSaysWhatIsGone(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{MaxBytes: 20_000}, 1); err != nil {
		t.Fatal(err)
	}
	l, err := Open(ctx, c.JS, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, taskEvents("e", 200)...)
	nothing := func(events.Entry) error { return nil }
	if err := l.Follow(ctx, 1, nothing); !errors.Is(err, ErrGone) {
		t.Errorf("following from what is gone: %v", err)
	}
	for _, err := range l.Read(ctx, 1) {
		if !errors.Is(err, ErrGone) {
			t.Errorf("reading what is gone: %v", err)
		}
	}
	u, err := bus.StreamUsage(ctx, c.JS, bus.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if w := u.Warnings(time.Now()); len(w) != 1 {
		t.Errorf("a full stream warns %q", w)
	}
	if n := len(ids(t, l, u.First)); n == 0 || n >= 200 {
		t.Errorf("%d records are kept", n)
	}
	wantProblems(t, verify(t, l))
}

func TestUsageWarnsOfAge(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	u := bus.Usage{Stream: "EVENTS", MaxBytes: -1, MaxAge: 100 * time.Hour, Oldest: now.Add(-80 * time.Hour), OldestExpires: now.Add(20 * time.Hour)}
	if w := u.Warnings(now); len(w) != 0 {
		t.Errorf("too early: %q", w)
	}
	if w := u.Warnings(now.Add(10 * time.Hour)); len(w) != 1 {
		t.Errorf("near the end: %q", w)
	}
}
