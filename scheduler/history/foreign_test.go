package history_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// What somebody else published into the log's stream is told, is no problem, and
// hides nothing: in the streams and in a copy of them.
func TestMessagesOfOthersInTheLog(t *testing.T) {
	ctx, conn := bustest.Context(t), shop(t) // ten records
	intrude := func(text string) {
		t.Helper()
		if _, err := conn.JS.PublishMsg(ctx, &nats.Msg{Subject: bus.EventsSubject, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	intrude("hello")
	intrude(`{"a":1}`)
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 2, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	ev := events.Event{Schema: events.Schema, ID: "t", Kind: events.TermBegin, Source: "controller", Time: now, Received: now, Term: &events.Term{Leader: "c", Epoch: 2}}
	if _, err := log.Append(ctx, ev); err != nil {
		t.Fatal(err)
	}
	if err := log.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	intrude("")
	dir := filepath.Join(t.TempDir(), "copy")
	for range 2 { // the second call goes on after a message of others
		if _, err := history.Copy(ctx, conn.JS, dir, history.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	live, err := history.Live(ctx, conn.JS)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close() //nolint:errcheck // only read
	for name, h := range map[string]*history.History{"live": live, "copy": kept} {
		rep := prove(t, h)
		told := 0
		for _, f := range rep.Findings {
			if strings.Contains(f.What, "no controller wrote") && !f.Since.IsZero() {
				told++
			}
		}
		if !rep.OK() || told != 3 || rep.Log.Records != 14 || rep.Log.Signed != 13 {
			t.Errorf("%s: %d told, %+v", name, told, rep)
		}
		for seq := uint64(10); seq <= 14; seq++ {
			if s, err := h.StateAt(ctx, seq); err != nil || s.Seq() != seq {
				t.Errorf("%s: the state after record %d: %v", name, seq, err)
			}
		}
		if seq, err := h.SeqAt(ctx, now.Add(time.Hour)); err != nil || seq != 14 {
			t.Errorf("%s: the last record is %d, %v", name, seq, err)
		}
		if b, err := h.Bounds(ctx); err != nil || b.To.Before(now) {
			t.Errorf("%s: the bounds are %+v, %v", name, b, err)
		}
	}
}
