package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/history"
)

// For a while the clock of a controller was a year ahead: moments before it, and
// those after it, are found all the same.
func TestMomentsAfterAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	ctx, conn := bustest.Context(t), bustest.Streams(t)
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	say := func(n int, received time.Time) {
		t.Helper()
		var evs []events.Event
		for i := range n {
			received = received.UTC()
			evs = append(evs, events.Event{Schema: events.Schema, ID: fmt.Sprint(received, i), Kind: events.HostGone, Source: "mesos",
				Time: received, Received: received, Gone: &events.Gone{Key: "a"}})
		}
		if _, err := log.Append(ctx, evs...); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now()
	say(1, before)
	say(3000, before.Add(365*24*time.Hour))
	after := time.Now()
	say(3, after)
	say(3000, after.Add(time.Hour))
	live, err := history.Live(ctx, conn.JS)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at   time.Time
		want uint64
	}{"before it": {before, 1}, "after it": {after, 3004}, "at the end": {after.Add(2 * time.Hour), 6004}} {
		if seq, err := live.SeqAt(ctx, c.at); err != nil || seq != c.want {
			t.Errorf("%s: record %d, %v, want %d", name, seq, err, c.want)
		}
	}
}
