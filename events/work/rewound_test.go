package work_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// remake makes the stream of work items anew, as a backup of the beginning.
func remake(t *testing.T, c *bus.Conn) {
	t.Helper()
	ctx := bustest.Context(t)
	if err := c.JS.DeleteStream(ctx, bus.WorkStream); err != nil {
		t.Fatal(err)
	}
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
}

func wantGap(t *testing.T, s *work.Subscription) {
	t.Helper()
	if it, err := s.Next(bustest.Context(t)); !errors.Is(err, work.ErrGap) {
		t.Fatalf("got %+v, %v", it, err)
	}
}

// A host whose items were stored in a stream that was restored from an older
// backup must not take what is new for what it has: it asks for its picture.
func TestHostNoticesThatTheItemsWereRestored(t *testing.T) {
	for name, test := range map[string]struct {
		later uint64 // items that are published then, of revisions that the host has
		live  bool
	}{
		"the stream ends before":                 {2, false},
		"the stream has grown, and it is asked":  {9, false},
		"the stream has grown while it listened": {9, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := bustest.Streams(t)
			p := publisher(t, c, 1)
			s := subscribe(t, c, "a", work.Position{})
			publish(t, p, snapshot("a", 10), item("a", 11), item("a", 12), item("a", 13))
			wantNext(t, s, 10, 11, 12, 13)
			at := s.Position()
			if !test.live {
				s.Close() //nolint:errcheck // it is replaced
			}
			remake(t, c)
			catchup(t, c)
			p = publisher(t, c, 2)
			for rev := uint64(4); rev < 4+test.later; rev++ {
				publish(t, p, item("a", rev))
			}
			if !test.live {
				s = subscribe(t, c, "a", at)
			}
			wantGap(t, s)
			publish(t, p, snapshot("a", 14), item("a", 15)) // it leaves a gap, as a whole picture may
			wantNext(t, s, 14, 15)
		})
	}
}

// Who takes over tells what each host was sent last.
func TestWhatWasSent(t *testing.T) {
	c := bustest.Streams(t)
	p := publisher(t, c, 1)
	if cause, err := work.LastCause(bustest.Context(t), c.JS); err != nil || cause != 0 {
		t.Errorf("nothing was sent because of %d, %v", cause, err)
	}
	a, b := item("node.1", 3), item("b", 7)
	a.Cause, b.Cause = 41, 42
	publish(t, p, a, b)
	p = publisher(t, c, 2)
	if epoch, err := work.LastEpoch(bustest.Context(t), c.JS); err != nil || epoch != 2 {
		t.Errorf("the last claim is of epoch %d, %v", epoch, err)
	}
	if sent := p.Sent(); len(sent) != 2 || sent["node.1"] != 3 || sent["b"] != 7 {
		t.Errorf("sent were %v", sent)
	}
	if cause, stored, err := work.LastStored(bustest.Context(t), c.JS); err != nil || cause != 42 || len(stored) != 2 || stored["node.1"] != 3 || stored["b"] != 7 {
		t.Errorf("stored are %v because of %d, %v", stored, cause, err)
	}
	for range 600 { // claims alone, as of controllers that take turns
		if _, err := bus.PublishAtomic(bustest.Context(t), c.JS, []*nats.Msg{{Subject: bus.FenceSubject, Data: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
	}
	if cause, err := work.LastCause(bustest.Context(t), c.JS); err != nil || cause != 42 {
		t.Errorf("the last item was sent because of %d, %v", cause, err)
	}
}
