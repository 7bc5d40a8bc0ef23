package history_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
)

// TestAnyMomentOfAnyHistory copies random histories, with snapshots at random
// distances, and compares the state at random moments with a fold from the
// beginning, and the search by time with a scan.
func TestAnyMomentOfAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "copy")
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.Uint64Range(1, 300).Draw(rt, "events")
		o := historytest.Options{Seed: rapid.Uint64().Draw(rt, "seed"), Events: n, Hosts: 3, Apps: 4, FrameEvery: rapid.Uint64Range(1, 100).Draw(rt, "frame")}
		if _, err := historytest.Write(t.Context(), dir, o); err != nil {
			t.Fatal(err)
		}
		if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: rapid.Uint64Range(1, 120).Draw(rt, "every")}); err != nil {
			t.Fatal(err)
		}
		h, err := history.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close() //nolint:errcheck // only read
		at := rapid.Uint64Range(0, n).Draw(rt, "at")
		state := scheduler.NewState()
		var all []events.Entry
		for e, err := range h.Entries(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, e); e.Seq <= at {
				state.Apply(e)
			}
		}
		if uint64(len(all)) != n {
			t.Fatalf("%d of %d entries", len(all), n)
		}
		got, err := h.StateAt(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := encode(t, got), encode(t, state); !bytes.Equal(a, b) {
			t.Fatalf("after record %d:\n%s\nfolded from the beginning:\n%s", at, a, b)
		}
		moment := rapid.SampledFrom(all).Draw(rt, "near").Event.Received.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "off")))
		var want uint64
		for _, e := range all {
			if !e.Event.Received.After(moment) {
				want = e.Seq
			}
		}
		if seq, err := h.SeqAt(t.Context(), moment); err != nil || seq != want {
			t.Fatalf("at %s is %d (%v), not %d", moment, seq, err, want)
		}
	})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func written(t *testing.T, n uint64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := historytest.Write(t.Context(), dir, historytest.Options{Seed: 1, Events: n, Hosts: 4, Apps: 5, FrameEvery: 100}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAGeneratedHistoryIsWhatItSays(t *testing.T) {
	t.Parallel()
	dir := written(t, 6000)
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	rep, err := h.Verify(t.Context(), historytest.Trust)
	if err != nil || !rep.OK() || rep.Records != 6000 || rep.Signed != 6000 {
		t.Fatalf("%+v, %v", rep, err)
	}
	items := func(yield func(*work.Item, error) bool) {
		for st, err := range h.Items(t.Context(), 0) {
			if err != nil || !yield(st.Item()) {
				return
			}
		}
	}
	r, err := scheduler.Replay(h.Entries(t.Context(), 1), items, nil)
	if err != nil || r.First != nil || r.Equal == 0 || r.Equal != r.Items {
		t.Fatalf("%+v, %v", r, err)
	}
	kinds := map[string]bool{}
	for rep, err := range h.Reports(t.Context(), 0) {
		if err != nil || rep.Err != nil {
			t.Fatal(err, rep.Err)
		}
		kinds[fmt.Sprint(rep.Join != nil, rep.Applied != nil, rep.Wiring != nil, rep.Drift != nil, rep.Logged != nil, rep.Session != nil, rep.Refused != nil)] = true
	}
	if len(kinds) < 7 {
		t.Errorf("only reports of the kinds %v", kinds)
	}
	happened, pods := map[events.Kind]bool{}, false
	for e, err := range h.Entries(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		happened[e.Event.Kind] = true
		pods = pods || e.Event.Task != nil && e.Event.Task.ID != e.Event.Task.Executor
	}
	for _, kind := range []events.Kind{events.HostGone, events.HostDrain, events.BGPSession, events.BGPRefused, events.PolicyApply} {
		if !happened[kind] {
			t.Errorf("no %s among %v", kind, happened)
		}
	}
	if !pods {
		t.Error("no pods")
	}
}

func TestDamageIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(t *testing.T, path string, data []byte) []byte
		want string
	}{
		"a flipped byte": {func(_ *testing.T, _ string, data []byte) []byte {
			data[len(data)/2] ^= 1
			return data
		}, "byte"},
		"cut at its end": {func(_ *testing.T, _ string, data []byte) []byte { return data[:len(data)-7] }, "ends within a frame"},
		"cut in half":    {func(_ *testing.T, _ string, data []byte) []byte { return data[:len(data)/2] }, "written up to 1000"},
		"emptied":        {func(*testing.T, string, []byte) []byte { return nil }, "written up to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := written(t, 1000)
			files, err := filepath.Glob(filepath.Join(dir, "EVENTS", "*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			data, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files[0], c.harm(t, files[0], data), 0o600); err != nil {
				t.Fatal(err)
			}
			h, err := history.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close() //nolint:errcheck // only read
			rep, err := h.Verify(t.Context(), historytest.Trust)
			if err != nil || rep.OK() || !strings.Contains(fmt.Sprint(rep.Problems), c.want) {
				t.Fatalf("found %+v, %v", rep, err)
			}
			_, err = h.StateAt(t.Context(), 1000)
			if err == nil {
				t.Fatal("the state at the end was folded from a log with damage")
			}
			// Nothing that can be read is passed over: records and problems are all.
			covered := map[uint64]bool{}
			for r, err := range h.Records(t.Context(), 0) {
				if err != nil {
					t.Fatal(err)
				}
				covered[r.Seq] = r.Err == nil
			}
			for _, p := range rep.Problems {
				for seq := p.From; seq <= p.To; seq++ {
					covered[seq] = true
				}
			}
			for seq := uint64(1); seq <= 1000; seq++ {
				if !covered[seq] {
					t.Fatalf("record %d is neither there nor reported: %v", seq, rep.Problems)
				}
			}
		})
	}
}

func TestWritingGoesOnAfterAnInterrupt(t *testing.T) {
	t.Parallel()
	dir := written(t, 500)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.zst"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, path := range files { // half a frame each
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("\x57\x2a\x4d\x18\x09"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := history.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	if rep, err := h.Verify(t.Context(), historytest.Trust); err != nil || !rep.OK() || rep.Records != 500 {
		t.Fatalf("%+v, %v", rep, err)
	}
}

// TestCopyAnswersAsTheStreamsDo fills streams, copies them in two steps, and
// asks both.
func TestCopyAnswersAsTheStreamsDo(t *testing.T) {
	t.Parallel()
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Open(ctx, c.JS, eventlog.Options{Epoch: 1, Key: key, CheckpointEvery: 100})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := work.NewPublisher(ctx, c.JS, 1)
	if err != nil {
		t.Fatal(err)
	}
	past, err := history.Open(written(t, 600))
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close() //nolint:errcheck // only read
	dir := filepath.Join(t.TempDir(), "copy")
	state := scheduler.NewState()
	n := 0
	for e, err := range past.Entries(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(ctx, e.Event); err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(ctx, state.Apply(e)...); err != nil {
			t.Fatal(err)
		}
		if n++; n == 250 {
			if err := work.NewReporter(c, "h1").Report(ctx, work.Report{Drift: &work.Drift{What: "a rule"}}); err != nil {
				t.Fatal(err)
			}
			if done, err := history.Copy(ctx, c.JS, dir, history.CopyOptions{}); err != nil || done.Events != 250 {
				t.Fatalf("%+v, %v", done, err)
			}
		}
	}
	snapshot := encode(t, state)
	if err := log.SaveSnapshot(ctx, state.Seq(), snapshot); err != nil {
		t.Fatal(err)
	}
	if err := log.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	done, err := history.Copy(ctx, c.JS, dir, history.CopyOptions{Every: 200})
	if err != nil || done.Events != 350 || done.Last != 600 || done.Snapshots < 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	if again, err := history.Copy(ctx, c.JS, dir, history.CopyOptions{}); err != nil || again.Events+again.Items+again.Reports != 0 {
		t.Fatalf("a copy of nothing new: %+v, %v", again, err)
	}
	live, err := history.Live(ctx, c.JS)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close() //nolint:errcheck // only read
	for _, h := range []*history.History{live, kept} {
		if rep, err := h.Verify(ctx, key.Public().(ed25519.PublicKey)); err != nil || !rep.OK() || rep.Signed != 600 {
			t.Errorf("%+v, %v", rep, err)
		}
	}
	ask := func(h *history.History) string {
		b, err := h.Bounds(ctx)
		if err != nil {
			t.Fatal(err)
		}
		answers := fmt.Sprintln(b)
		for i := range 8 {
			at := b.From.Add(b.To.Sub(b.From) / 7 * time.Duration(i))
			seq, err := h.SeqAt(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			s, err := h.StateAt(ctx, seq)
			if err != nil {
				t.Fatal(err)
			}
			answers += fmt.Sprintln(seq, string(encode(t, s)))
		}
		for st, err := range h.Items(ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			answers += fmt.Sprintln(st.Seq, st.Epoch, st.Time.UTC(), string(st.Data))
		}
		for r, err := range h.Reports(ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			place, err := h.ReportsAt(ctx, r.Stored)
			if err != nil {
				t.Fatal(err)
			}
			answers += fmt.Sprintln(r.Seq, place, r.Stored.UTC(), string(encode(t, r.Report)))
		}
		return answers
	}
	if a, b := ask(live), ask(kept); a != b {
		t.Errorf("the streams say\n%.2000s\nthe copy\n%.2000s", a, b)
	}
	if _, err := kept.StateAt(ctx, 601); !errors.Is(err, history.ErrBeyond) {
		t.Errorf("after the end: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range kept.Records(ended, 0) {
		if err == nil {
			t.Error("read on after the end of the context")
		}
		break
	}
	if _, err := history.Copy(ctx, bustest.Streams(t).JS, dir, history.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("went on with streams of another log: %v", err)
	}
}
