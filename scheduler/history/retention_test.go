package history_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
	"github.com/taskwall/taskwall/scheduler/pasttest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// played is a bus on which a generated history was lived: each thing after what
// it follows from. All of it is signed, with the state in the middle.
func played(t *testing.T, events uint64) *bus.Conn {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "generated")
	if _, err := historytest.Write(t.Context(), dir, historytest.Options{Seed: 5, Events: events, Hosts: 3, Apps: 4}); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	ctx, conn := t.Context(), bustest.Streams(t)
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := work.NewPublisher(ctx, conn.JS, 1)
	if err != nil {
		t.Fatal(err)
	}
	items, stopItems := iter.Pull2(h.Items(ctx, 0))
	defer stopItems()
	reports, stopReports := iter.Pull2(h.Reports(ctx, 0))
	defer stopReports()
	published := map[string]uint64{}
	r, _, more := reports()
	// say sends reports up to one, or all that only say what was published or seen.
	say := func(place uint64) {
		for more && (r.Seq <= place || place == 0 && r.Join == nil && r.Wiring == nil && (r.Applied == nil || r.Applied.Rev <= published[r.Host])) {
			if err := work.NewReporter(conn, r.Host).Report(ctx, r.Report); err != nil {
				t.Fatal(err)
			}
			if r, err, more = reports(); err != nil {
				t.Fatal(err)
			}
		}
	}
	it, err, left := items()
	for e, logErr := range h.Entries(ctx, 1) {
		if logErr != nil || err != nil {
			t.Fatal(logErr, err)
		}
		if e.Event.Join != nil {
			say(e.Event.Join.Report)
		} else if e.Event.Wiring != nil {
			say(e.Event.Wiring.Report)
		}
		if _, err := log.Append(ctx, e.Event); err != nil {
			t.Fatal(err)
		}
		for ; left && err == nil && it.Cause == e.Seq; it, err, left = items() {
			if err := publisher.Publish(ctx, pasttest.Item(t, &it)); err != nil {
				t.Fatal(err)
			}
			published[it.Host] = it.Rev
			say(0)
		}
		if e.Seq == events/2 {
			s, err := h.StateAt(ctx, e.Seq)
			if err != nil {
				t.Fatal(err)
			}
			data, err := s.MarshalBinary()
			if err == nil {
				err = log.SaveSnapshot(ctx, e.Seq, data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if e.Seq%(events/4) == 0 {
			if err := log.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	return conn
}

// cut has the server remove the oldest part of a stream, as its limit would, and
// gives the first sequence that is left.
func cut(t *testing.T, conn *bus.Conn, stream string, part float64) uint64 {
	t.Helper()
	ctx := bustest.Context(t)
	s, err := conn.JS.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = int64(float64(s.CachedInfo().State.Bytes) * (1 - part))
	if s, err = conn.JS.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if s.CachedInfo().State.FirstSeq == 1 {
		t.Fatal("nothing was removed")
	}
	return s.CachedInfo().State.FirstSeq
}

// Where retention has cut one of the streams before the others, verify says from
// where on it compares, raises no alarm, and still finds what is missing later;
// of the streams, and of a copy of them.
func TestRetentionIsNoTampering(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parts map[string]float64 // removed of each stream
		says  string
	}{
		"nothing is cut": {nil, ""},
		"the items":      {map[string]float64{bus.WorkStream: 0.6}, "are no longer kept, and not compared: the first that is kept was stored"},
		"the reports":    {map[string]float64{bus.ReportsStream: 0.6}, "are no longer kept: what hosts said before"},
		"nearly all":     {map[string]float64{bus.WorkStream: 0.8, bus.ReportsStream: 0.8}, "are no longer kept, and not compared"},
		"the log":        {map[string]float64{bus.EventsStream: 0.3}, "of those published were made before the fold begins, and not compared"},
		"the log least":  {map[string]float64{bus.EventsStream: 0.2, bus.WorkStream: 0.8, bus.ReportsStream: 0.8}, "are no longer kept, and not compared"},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: each writes much to its server
			conn := played(t, 240)
			for stream, part := range c.parts {
				cut(t, conn, stream, part)
			}
			copies := 0
			look := func(o proof.Options) (rep *proof.Report, text, dir string) {
				t.Helper()
				h, err := history.Live(t.Context(), conn.JS)
				if err != nil {
					t.Fatal(err)
				}
				rep, text = verified(t, h, o)
				copies++
				dir = filepath.Join(t.TempDir(), fmt.Sprint("copy", copies))
				if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{}); err != nil {
					t.Fatal(err)
				}
				if h, err = history.Open(dir); err != nil {
					t.Fatal(err)
				}
				defer h.Close() //nolint:errcheck // only read
				if _, copied := verified(t, h, o); copied != text {
					t.Errorf("of a copy verify says\n%s\nof the streams\n%s", copied, text)
				}
				return rep, text, dir
			}
			rep, text, dir := look(proof.Options{Limit: 4096})
			if !rep.OK() || !strings.Contains(text, c.says) {
				t.Errorf("wanted was %q:\n%s", c.says, text)
			}
			if rep.Items.Equal == 0 || rep.Hosts.Compared != rep.Hosts.Equal || rep.Items.Made != rep.Items.Equal+goneItems(rep) {
				t.Errorf("compared:\n%s", text)
			}
			if c.parts[bus.WorkStream] > 0 && c.parts[bus.EventsStream] == 0 { // so few are left that it was somebody else
				if rep, text, _ := look(proof.Options{}); rep.OK() || !strings.Contains(text, "the first items are missing, which retention cannot have removed") {
					t.Errorf("of a small stream:\n%s", text)
				}
			}
			middle := func(l []string) []string { return slices.Delete(l, 2*len(l)/3, 2*len(l)/3+1) }
			rewrite(t, dir, bus.WorkStream, middle)
			rewrite(t, dir, bus.ReportsStream, middle)
			h, err := history.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close() //nolint:errcheck // only read
			_, text = verified(t, h, proof.Options{Limit: 4096})
			for _, want := range []string{"made by the log, but never published", "missing\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("of what is missing in the middle, not told was %q:\n%s", want, text)
				}
			}
		})
	}
}

func goneItems(r *proof.Report) int {
	if r.Items.Gone == nil {
		return 0
	}
	return r.Items.Gone.Items
}

func verified(t *testing.T, h *history.History, o proof.Options) (*proof.Report, string) {
	t.Helper()
	v, err := proof.New(t.Context(), h, o, pasttest.Trust)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := v.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Events of a generated history are of long ago.
	for i := len(rep.Findings) - 1; i >= 0; i-- {
		if rep.Findings[i].Kind == proof.KindLate {
			rep.Findings = append(rep.Findings[:i], rep.Findings[i+1:]...)
		}
	}
	var text strings.Builder
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	return rep, text.String()
}
