package history_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// saved is the log of shop with snapshots after records 4, 6 and 8, all of them
// signed, and the states after each of its ten records.
func saved(t *testing.T) (*bus.Conn, [][]byte) {
	t.Helper()
	ctx, conn := bustest.Context(t), shop(t)
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	s := scheduler.NewState()
	states := [][]byte{stateBytes(t, s)}
	for e, err := range log.Read(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(e)
		states = append(states, stateBytes(t, s))
		if e.Seq == 4 || e.Seq == 6 || e.Seq == 8 {
			save(t, conn, log, e.Seq, states[e.Seq])
		}
	}
	return conn, states
}

func stateBytes(t *testing.T, s *scheduler.State) []byte {
	t.Helper()
	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// save saves a snapshot; without a log, as somebody does who has no key.
func save(t *testing.T, conn *bus.Conn, log *eventlog.Log, seq uint64, state []byte) {
	t.Helper()
	ctx := bustest.Context(t)
	if log == nil {
		var err error
		if log, err = eventlog.Open(ctx, conn.JS, eventlog.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.SaveSnapshot(ctx, seq, state); err != nil {
		t.Fatal(err)
	}
}

// notUsed are the snapshots that were passed over, and why.
func notUsed(h *history.History) string {
	var all []string
	for _, p := range h.Passed() {
		all = append(all, fmt.Sprintf("%d %v", p.Seq, p.Err))
	}
	return strings.Join(all, "; ")
}

// Whatever is done to snapshots, in the streams or in a copy, who names keys to
// trust gets the state that the log makes, and is told what was not used.
func TestSnapshotsThatAreTamperedWithAreNotUsed(t *testing.T) {
	t.Parallel()
	const unsigned = "no checkpoint of a trusted key vouches for it"
	for _, c := range []struct {
		name string
		put  map[uint64]uint64 // state put at a record, by the record that it is of
		want string            // of what is passed over for the state after record 9
		// found by verify: the records of snapshots that are not what was signed
		found []uint64
	}{
		{name: "as they were saved"},
		{name: "altered", put: map[uint64]uint64{8: 1}, want: "8 altered", found: []uint64{8}},
		{name: "an older one again", put: map[uint64]uint64{8: 6}, want: "8 altered", found: []uint64{8}},
		{name: "swapped", put: map[uint64]uint64{8: 6, 6: 8}, want: "6 altered; 8 altered", found: []uint64{6, 8}},
		{name: "all altered", put: map[uint64]uint64{8: 1, 6: 1, 4: 1}, want: "4 altered; 6 altered; 8 altered", found: []uint64{4, 6, 8}},
		{name: "another inserted", put: map[uint64]uint64{9: 9}, want: "9 " + unsigned},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, states := saved(t)
			for at, of := range c.put {
				save(t, conn, nil, at, states[of])
			}
			dir := filepath.Join(t.TempDir(), "copy")
			if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
			for where, open := range map[string]func() (*history.History, error){
				"streams": func() (*history.History, error) { return history.Live(t.Context(), conn.JS) },
				"copy":    func() (*history.History, error) { return history.Open(dir) },
			} {
				h, err := open()
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close() //nolint:errcheck // only read
				h.Trust(pasttest.Trust)
				s, err := h.StateAt(t.Context(), 9)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(stateBytes(t, s), states[9]) {
					t.Errorf("%s: another state", where)
				}
				said := strings.ReplaceAll(notUsed(h), ": not what the checkpoint of", "")
				for _, word := range strings.Split(c.want, "; ") {
					if !strings.Contains(said, word) {
						t.Errorf("%s: told %q, not %q", where, said, word)
					}
				}
				if c.want == "" && said != "" {
					t.Errorf("%s: told %q", where, said)
				}
				rep := prove(t, h)
				var found []uint64
				for _, f := range rep.Findings {
					if f.Problem {
						found = append(found, f.First)
						if !strings.Contains(f.What, "the snapshot here is altered: not what the checkpoint of") {
							t.Errorf("%s: verify says %s", where, f.What)
						}
					}
				}
				if !slices.Equal(found, c.found) || rep.Log.States != 3 {
					t.Errorf("%s: verify found %v, and %d states as signed", where, problems(rep), rep.Log.States)
				}
			}
		})
	}
}

// Without its beginning, a log can be asked only from a snapshot.
func TestALogWithoutItsBeginningNeedsASignedSnapshot(t *testing.T) {
	t.Parallel()
	conn, states := saved(t)
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	later := func(lines []string) []string { return lines[5:] }
	h := tampered(t, dir, bus.EventsStream, later)
	h.Trust(pasttest.Trust)
	s, err := h.StateAt(t.Context(), 7)
	if err != nil || !bytes.Equal(stateBytes(t, s), states[7]) || len(h.Passed()) > 0 {
		t.Fatalf("%v; passed over %q", err, notUsed(h))
	}
	if rep := prove(t, h); !rep.OK() || rep.Log.Start != 6 || !rep.Log.StartSigned || rep.Log.States != 2 {
		t.Errorf("verify says %+v: %v", rep.Log, problems(rep))
	}

	stranger := tampered(t, dir, bus.EventsStream, later)
	stranger.Trust(pasttest.KeyOf("stranger").Public().(ed25519.PublicKey))
	if _, err := stranger.StateAt(t.Context(), 7); !errors.Is(err, eventlog.ErrGone) || len(stranger.Passed()) != 2 {
		t.Errorf("%v; passed over %q", err, notUsed(stranger))
	}
	stranger.Trust() // taken on trust, as ever
	if _, err := stranger.StateAt(t.Context(), 7); err != nil {
		t.Error(err)
	}
}

// A snapshot of a copy that is removed or broken makes answers slower, not wrong.
func TestSnapshotsThatAreMissingOrBroken(t *testing.T) {
	t.Parallel()
	conn, states := saved(t)
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	file := func(seq int) string { return filepath.Join(dir, "SNAPSHOTS", fmt.Sprintf("%020d.state.zst", seq)) }
	if err := os.Remove(file(8)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file(6), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	h.Trust(pasttest.Trust)
	s, err := h.StateAt(t.Context(), 9)
	if err != nil || !bytes.Equal(stateBytes(t, s), states[9]) || notUsed(h) != "6 damaged" {
		t.Errorf("%v; passed over %q", err, notUsed(h))
	}
	if found := problems(prove(t, h)); !slices.Equal(found, []string{"log 6-6: the snapshot here is damaged"}) {
		t.Errorf("verify found %q", found)
	}
}
