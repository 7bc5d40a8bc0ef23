package history_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// unkept is a copy of saved of which no snapshot is left, as of a log whose
// controller keeps only the last ones.
func unkept(t *testing.T) (conn *bus.Conn, states [][]byte, dir string) {
	t.Helper()
	conn, states = saved(t)
	dir = filepath.Join(t.TempDir(), "copy")
	copyWithout(t, conn, dir)
	return conn, states, dir
}

func copyWithout(t *testing.T, conn *bus.Conn, dir string) {
	t.Helper()
	if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{NoIndex: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "SNAPSHOTS")); err != nil {
		t.Fatal(err)
	}
}

// kept are the records after which a copy has snapshots.
func kept(t *testing.T, dir string) (seqs []int) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "SNAPSHOTS"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), ".")
		n, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, n)
	}
	return seqs
}

// The snapshots that a copy makes itself are those that checkpoints vouch for:
// who trusts keys starts from them, too.
func TestACopyMakesTheSignedSnapshotsAgain(t *testing.T) {
	t.Parallel()
	_, states, dir := unkept(t)
	n, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 3})
	if got := kept(t, dir); err != nil || n != 2 || !slices.Equal(got, []int{4, 8}) {
		t.Fatalf("%d snapshots, after records %v, %v", n, got, err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	h.Trust(pasttest.Trust)
	s, err := h.StateAt(t.Context(), 8)
	if err != nil || !bytes.Equal(stateBytes(t, s), states[8]) || notUsed(h) != "" {
		t.Errorf("%v; passed over %q", err, notUsed(h))
	}
	if rep := prove(t, h); !rep.OK() {
		t.Errorf("verify found %q", problems(rep))
	}
}

// A state that a program signed before the form of snapshots changed is as good as
// one signed now: it is made again as it was.
func TestStatesSignedInTheFormBefore(t *testing.T) {
	t.Parallel()
	conn, states := saved(t)
	s := scheduler.NewState()
	if err := s.UnmarshalBinary(states[9]); err != nil {
		t.Fatal(err)
	}
	old, err := s.MarshalForm("taskwall-state 3")
	if err != nil || bytes.Equal(old, states[9]) {
		t.Fatal("the forms are one", err)
	}
	log, err := eventlog.Open(bustest.Context(t), conn.JS, eventlog.Options{Epoch: 1, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	save(t, conn, log, 9, old)
	dir := filepath.Join(t.TempDir(), "copy")
	copyWithout(t, conn, dir)
	if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 9}); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, dir); !slices.Equal(got, []int{9}) {
		t.Fatalf("snapshots after records %v", got)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	h.Trust(pasttest.Trust)
	if s, err := h.StateAt(t.Context(), 9); err != nil || !bytes.Equal(stateBytes(t, s), states[9]) || notUsed(h) != "" {
		t.Errorf("%v; passed over %q", err, notUsed(h))
	}
	if _, data, err := h.Vouched(t.Context(), time.Now().AddDate(10, 0, 0)); err != nil || !bytes.Equal(data, old) {
		t.Errorf("the vouched state is not the one that was signed, %v", err)
	}
	if rep := prove(t, h); !rep.OK() || rep.Log.States != 4 {
		t.Errorf("verify compared %d states, found %q", rep.Log.States, problems(rep))
	}
}

// A state that is signed and that the log does not make is for verify to tell of:
// the copy must not seem to hold a snapshot that was altered.
func TestACopyMakesNoSnapshotThatContradictsACheckpoint(t *testing.T) {
	t.Parallel()
	conn, states := saved(t)
	log, err := eventlog.Open(bustest.Context(t), conn.JS, eventlog.Options{Epoch: 1, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	save(t, conn, log, 9, states[1])
	dir := filepath.Join(t.TempDir(), "copy")
	copyWithout(t, conn, dir)
	if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 4}); err != nil {
		t.Fatal(err)
	}
	// After 4 it is due at 8, which is signed; of 9, which comes in time, too, the log makes another.
	if got := kept(t, dir); !slices.Equal(got, []int{4, 8}) {
		t.Errorf("snapshots after records %v", got)
	}
	if err := os.RemoveAll(filepath.Join(dir, "SNAPSHOTS")); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 9}); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, dir); !slices.Equal(got, []int{10}) {
		t.Errorf("snapshots after records %v: that after 9 is not what was signed", got)
	}
}

func TestTheLastVouchedStateBeforeATime(t *testing.T) {
	t.Parallel()
	_, states, dir := unkept(t)
	open := func(trust ...ed25519.PublicKey) *history.History {
		h, err := history.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		h.Trust(trust...)
		return h
	}
	var received []time.Time
	for e, err := range open().Entries(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		received = append(received, e.Event.Received)
	}
	for _, c := range []struct {
		before time.Time
		want   uint64 // 0: none
	}{
		{received[3].Add(-time.Millisecond), 0},
		{received[3], 4},
		{received[5], 6},
		{received[8], 8},
		{received[9].Add(time.Hour), 8},
	} {
		s, data, err := open(pasttest.Trust).Vouched(t.Context(), c.before)
		switch {
		case err != nil:
			t.Fatal(err)
		case c.want == 0:
			if s != nil {
				t.Errorf("before %s: the state after record %d", c.before, s.Seq())
			}
		case s == nil || s.Seq() != c.want || !bytes.Equal(data, states[c.want]):
			t.Errorf("before %s: not the state after record %d", c.before, c.want)
		}
	}
	for name, h := range map[string]*history.History{"nobody": open(), "a stranger": open(pasttest.KeyOf("stranger").Public().(ed25519.PublicKey))} {
		if s, _, err := h.Vouched(t.Context(), received[9]); s != nil || err != nil {
			t.Errorf("a state that %s vouches for: %v", name, err)
		}
	}
}
