package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
)

// forged is a copy as somebody makes it who can write whole frames: with other
// records, other items, or fewer.
func forged(t *testing.T, from string, records func([]*eventlog.Record) []*eventlog.Record, items func([]work.Stored) []work.Stored) *history.History {
	t.Helper()
	h, err := history.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	var rs []*eventlog.Record
	for r, err := range h.Records(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	var its []work.Stored
	for st, err := range h.Items(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		its = append(its, st)
	}
	checkpoints, err := h.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if records != nil {
		rs = records(rs)
	}
	if items != nil {
		its = items(its)
	}
	dir := filepath.Join(t.TempDir(), "forged")
	w, err := history.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		e, _ := r.Entry() //nolint:errcheck // a forger does not care
		if err := w.Record(r, e.Event.Received); err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range its {
		if st.Err != nil {
			err = w.Unreadable(st.Seq, st.Time, "node-1", st.Err, []byte("junk"))
		} else {
			err = w.Item(st.Seq, st.Time, st.Host, st.Epoch, st.Cause, st.Data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range checkpoints {
		b, err := json.Marshal(c)
		if err == nil {
			err = w.Checkpoint(c.Place, c.Time, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) //nolint:errcheck // only read
	return f
}

// From records that were tampered with no state is made, and no answer given:
// the place is told instead. What lies before it can still be asked.
func TestNoAnswerFromATamperedLog(t *testing.T) {
	t.Parallel()
	const n, at = 400, 200
	from := written(t, n)
	for name, c := range map[string]struct {
		records func([]*eventlog.Record) []*eventlog.Record
		want    error
	}{
		"altered": {func(rs []*eventlog.Record) []*eventlog.Record {
			r := *rs[at-1]
			rs[at-1] = &eventlog.Record{Seq: r.Seq, Prev: r.Prev, Epoch: r.Epoch, Writer: r.Writer, Data: bytes.Replace(r.Data, []byte(`"source":"`), []byte(`"source":"x`), 1)}
			return rs
		}, history.ErrAltered},
		"another writer named": {func(rs []*eventlog.Record) []*eventlog.Record {
			r := *rs[at-1]
			rs[at-1] = &eventlog.Record{Seq: r.Seq, Prev: r.Prev, Epoch: r.Epoch, Writer: "mallory", Data: r.Data}
			return rs
		}, history.ErrAltered},
		"removed": {func(rs []*eventlog.Record) []*eventlog.Record { return slices.Delete(rs, at-1, at) }, eventlog.ErrMissing},
		"exchanged": {func(rs []*eventlog.Record) []*eventlog.Record {
			rs[at-1].Data, rs[at].Data = rs[at].Data, rs[at-1].Data
			return rs
		}, history.ErrAltered},
		"inserted": {func(rs []*eventlog.Record) []*eventlog.Record {
			r := *rs[at-1]
			rs = slices.Insert(rs, at, &r)
			for i := at; i < len(rs); i++ {
				rs[i] = &eventlog.Record{Seq: uint64(i) + 1, Prev: rs[i].Prev, Epoch: rs[i].Epoch, Writer: rs[i].Writer, Data: rs[i].Data}
			}
			return rs
		}, history.ErrAltered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := forged(t, from, c.records, nil)
			if _, err := h.StateAt(t.Context(), n); !errors.Is(err, c.want) {
				t.Errorf("the state at the end: %v, want %v", err, c.want)
			}
			if s, err := h.StateAt(t.Context(), at-2); err != nil || s.Seq() != at-2 {
				t.Errorf("the state before: %v", err)
			}
			var last uint64
			for e, err := range h.Entries(t.Context(), 1) {
				if err == nil {
					last = e.Seq
				}
			}
			if last >= at+1 || last < at-2 {
				t.Errorf("events are given up to %d, tampered was with %d", last, at)
			}
		})
	}
}

// Asked about the end of a log whose end was cut off, a copy says so: a
// checkpoint was signed for more.
func TestNoAnswerAboutAnEndThatIsMissing(t *testing.T) {
	t.Parallel()
	from := written(t, 400)
	whole := forged(t, from, nil, nil)
	b, err := whole.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if seq, err := whole.SeqAt(t.Context(), b.To.Add(time.Hour)); err != nil || seq != 400 {
		t.Fatalf("of the whole log: %d, %v", seq, err)
	}
	h := forged(t, from, func(rs []*eventlog.Record) []*eventlog.Record { return rs[:350] }, nil)
	if _, err := h.SeqAt(t.Context(), b.To); !errors.Is(err, history.ErrCut) {
		t.Errorf("at the end: %v", err)
	}
	if _, err := h.SeqAt(t.Context(), b.From); err != nil {
		t.Errorf("at the beginning: %v", err)
	}
}

// What was published and is no work item is read past, and told with its place.
func TestUnreadableItemsAreReadPast(t *testing.T) {
	t.Parallel()
	const place = 20
	var n int
	h := forged(t, written(t, 400), nil, func(all []work.Stored) []work.Stored {
		n = len(all)
		all[place].Err = errors.New("decoding a work item: no JSON")
		return all
	})
	seen := 0
	for st, err := range h.Items(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if (st.Err != nil) != (seen == place) {
			t.Errorf("item %d: %v", seen, st.Err)
		}
		seen++
	}
	if seen != n {
		t.Errorf("%d of %d items are given", seen, n)
	}
	if rep, err := h.Verify(t.Context(), historytest.Trust); err != nil || !rep.OK() {
		t.Errorf("the log itself is whole: %+v, %v", rep, err)
	}
}

// The headers of frames say where to look. One that was altered, so that a
// search would pass over what it holds, is found by that search.
func TestAlteredHeadersMisleadNobody(t *testing.T) {
	t.Parallel()
	for _, year := range []string{"1999", "2999"} {
		dir := written(t, 1000)
		honest, err := history.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		const seq = 550
		var then time.Time
		for e, err := range honest.Entries(t.Context(), seq) {
			if err != nil {
				t.Fatal(err)
			}
			then = e.Event.Received
			break
		}
		if found, err := honest.SeqAt(t.Context(), then); err != nil || found < seq {
			t.Fatalf("%d, %v", found, err)
		}
		honest.Close() //nolint:errcheck // only read
		files, err := filepath.Glob(filepath.Join(dir, "EVENTS", "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		headers := regexp.MustCompile(`{"first":\d+,"last":\d+,[^}]*"from":"(\d{4})`).FindAllSubmatchIndex(data, -1)
		if len(headers) != 10 {
			t.Fatalf("%d headers", len(headers))
		}
		copy(data[headers[5][2]:], year) // of 501 to 600
		if err := os.WriteFile(files[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := history.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := h.SeqAt(t.Context(), then); !errors.Is(err, history.ErrDamaged) {
			t.Errorf("from %s on: found %d, %v", year, found, err)
		}
		h.Close() //nolint:errcheck // only read
	}
}
