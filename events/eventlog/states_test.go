package eventlog

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

func snapshotOf(what string) []byte { return []byte("taskwall-state test\n" + what) }

func save(t *testing.T, l *Log, seq uint64, what string) {
	t.Helper()
	if err := l.SaveSnapshot(bustest.Context(t), seq, snapshotOf(what)); err != nil {
		t.Fatal(err)
	}
}

// latest is what the latest snapshot of a log says, with its record's number.
func latest(t *testing.T, l *Log, notAfter uint64) (uint64, string) {
	t.Helper()
	seq, data, ok, err := l.LatestSnapshot(bustest.Context(t), notAfter)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return 0, ""
	}
	return seq, strings.TrimPrefix(string(data), "taskwall-state test\n")
}

func last(t *testing.T, l *Log) *Checkpoint {
	t.Helper()
	c, err := l.LastCheckpoint(bustest.Context(t))
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	return c
}

func TestACheckpointVouchesForASavedSnapshot(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	trust := testKey("log").Public().(ed25519.PublicKey)
	save(t, l, 9, "nine")
	c := last(t, l)
	if c.State == nil || *c.State != MarkState(9, snapshotOf("nine")) || c.State.Form != "taskwall-state test" || c.Seq != 10 || c.Check(trust) != nil {
		t.Fatalf("the checkpoint is %+v: %v", c, c.Check(trust))
	}
	wantProblems(t, verify(t, l))

	// Of a record that this writer has not seen yet, the next one does.
	save(t, l, 11, "eleven")
	if c := last(t, l); c.State.Seq != 9 {
		t.Fatalf("a checkpoint of record %d vouches for the state after record %d", c.Seq, c.State.Seq)
	}
	mustAppend(t, l, taskEvents("f", 1)[0])
	for range 2 { // the second time nothing is new
		if err := l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if c := last(t, l); c.Seq != 11 || c.State == nil || c.State.Seq != 11 || c.Check(trust) != nil {
		t.Fatalf("the checkpoint is %+v", c)
	}

	for what, change := range map[string]func(*Checkpoint){
		"another state":  func(c *Checkpoint) { c.State.Hash[0]++ },
		"another record": func(c *Checkpoint) { c.State.Seq-- },
		"another form":   func(c *Checkpoint) { c.State.Form += "\n" },
		"no state":       func(c *Checkpoint) { c.State = nil },
		"reports":        func(c *Checkpoint) { c.Reports = &ReportsMark{First: 1} },
	} {
		c := last(t, l)
		change(c)
		if err := c.Check(trust); err == nil || errors.Is(err, errUntrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWithoutAKeyNothingIsSigned(t *testing.T) {
	l := newLog(t, Options{Epoch: 1})
	mustAppend(t, l, taskEvents("e", 1)[0])
	save(t, l, 1, "one")
	if c, err := l.LastCheckpoint(bustest.Context(t)); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if seq, what := latest(t, l, 1); seq != 1 || what != "one" {
		t.Errorf("the latest is %q at %d", what, seq)
	}
}

// Whoever can write to the message bus can put any snapshot there.
func TestOnlySnapshotsThatTrustedKeysVouchForAreGiven(t *testing.T) {
	l := signedLog(t)
	save(t, l, 3, "three")
	save(t, l, 6, "six")
	save(t, l, 9, "nine")
	stranger := open(t, l, Options{})
	reader := open(t, l, Options{Trust: []ed25519.PublicKey{testKey("log").Public().(ed25519.PublicKey)}})
	want := func(seq uint64, what string) {
		t.Helper()
		for _, l := range []*Log{l, reader} { // who signs believes its own key
			if at, got := latest(t, l, 10); at != seq || got != what {
				t.Errorf("the latest is %q at %d, want %q at %d", got, at, what, seq)
			}
		}
	}
	want(9, "nine")
	save(t, stranger, 9, "forged")
	want(6, "six")
	save(t, stranger, 10, "new")
	want(6, "six")
	save(t, stranger, 6, "three") // an older one again
	want(3, "three")
	save(t, stranger, 3, "forged")
	want(0, "") // the log has all
	save(t, stranger, 9, "nine")
	want(9, "nine")

	// Who takes snapshots on trust is not better off than before.
	if seq, what := latest(t, stranger, 10); seq != 10 || what != "new" {
		t.Errorf("the latest is %q at %d", what, seq)
	}
	// One whose key signed no state, as with a new key, begins with what there is.
	other := open(t, l, Options{Trust: []ed25519.PublicKey{testKey("other").Public().(ed25519.PublicKey)}})
	if seq, what := latest(t, other, 10); seq != 10 || what != "new" {
		t.Errorf("the latest is %q at %d", what, seq)
	}
}

// Without the log's beginning there may be no other way than on trust; but one
// that is known to be altered is none.
func TestWithoutTheLogsBeginningAnUnsignedSnapshotIsBetterThanNone(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	save(t, l, 6, "six")
	stranger := open(t, l, Options{})
	save(t, stranger, 6, "forged")
	save(t, stranger, 8, "eight")
	if seq, what := latest(t, l, 10); seq != 0 {
		t.Fatalf("the latest is %q at %d", what, seq)
	}
	s := unlock(t, l)
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	if seq, what := latest(t, l, 10); seq != 8 || what != "eight" {
		t.Errorf("the latest is %q at %d", what, seq)
	}
	if seq, what := latest(t, l, 7); seq != 0 {
		t.Errorf("an altered one is given: %q at %d", what, seq)
	}
}

// Two controllers may have a key each, and be of two versions.
func TestStatesOfSeveralKeys(t *testing.T) {
	a, b := testKey("a"), testKey("b")
	mark := func(key ed25519.PrivateKey, what string) Checkpoint {
		m := MarkState(5, snapshotOf(what))
		return Sign(key, Checkpoint{Seq: 7, State: &m})
	}
	early := mark(a, "early")
	early.Seq = 4
	early = Sign(a, early)
	all := []Checkpoint{mark(a, "one"), mark(b, "two"), mark(a, "one"), mark(testKey("c"), "three"), early}
	s := NewStates(all, a.Public().(ed25519.PublicKey), b.Public().(ed25519.PublicKey))
	if got := s.At(5); len(got) != 2 || !s.Any() || len(s.At(6)) != 0 {
		t.Errorf("%d states: %+v", len(got), got)
	}
	for what, want := range map[string]error{"one": nil, "two": nil, "three": ErrAltered, "early": ErrAltered} {
		if err := s.Check(5, snapshotOf(what)); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Check(6, snapshotOf("one")); !errors.Is(err, ErrUnsigned) {
		t.Errorf("at another record: %v", err)
	}
	if NewStates(all).Any() {
		t.Error("who trusts nobody believes somebody")
	}
}

// A checkpoint that is replaced by an earlier one leaves no gap in the numbers.
func TestACopyOfACheckpointIsLocated(t *testing.T) {
	l := signedLog(t)
	all, err := l.Checkpoints(bustest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	trust := testKey("log").Public().(ed25519.PublicKey)
	for name, c := range map[string]struct {
		of, by int
		want   string
	}{
		"the middle":            {1, 0, "record 4: the checkpoint numbered 2 is a copy of the one numbered 1: the one that was written there is missing"},
		"the last":              {2, 0, "record 8: the checkpoint numbered 3 is a copy of the one numbered 1: the one that was written there is missing"},
		"the first, by a later": {0, 1, "record 8: the checkpoint numbered 2 is a copy of the one numbered 1: the one that was written there is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			altered := slices.Clone(all)
			altered[c.of] = all[c.by]
			altered[c.of].Place = all[c.of].Place
			altered[c.of].Signature += "\n" // base64 that reads the same
			v := NewVerifier(altered, trust)
			for r, err := range l.Records(bustest.Context(t), 1) {
				if err != nil {
					t.Fatal(err)
				}
				v.Record(r)
			}
			wantProblems(t, v.End(10), c.want)
		})
	}
}

// What older programs wrote, and what they read of what is new.
func TestCheckpointsOfEarlierFormsAreRead(t *testing.T) {
	key := testKey("log")
	for name, c := range map[string]Checkpoint{
		"taskwall-checkpoint-1\n": {Seq: 3},
		"taskwall-checkpoint-2\n": {Seq: 3, Reports: &ReportsMark{First: 1, Last: 2}},
		"taskwall-checkpoint-3\n": {Seq: 3, State: &StateMark{Seq: 3, Form: "f"}},
	} {
		signed := Sign(key, c)
		data, err := json.Marshal(signed)
		if err != nil {
			t.Fatal(err)
		}
		var read Checkpoint
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		if err := read.Check(key.Public().(ed25519.PublicKey)); err != nil || !strings.HasPrefix(string(read.text()), name) {
			t.Errorf("%q: %v", read.text(), err)
		}
		if c.State == nil && strings.Contains(string(data), "state") {
			t.Errorf("%s", data)
		}
	}
}

// A leader whose checkpoint can't be written goes on, and signs later.
func TestASnapshotThatCouldNotBeSignedIsSignedLater(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	config := bus.CheckpointsStream
	s, err := l.js.Stream(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	was := s.CachedInfo().Config
	full := was
	full.MaxMsgs, full.Discard = int64(s.CachedInfo().State.Msgs), jetstream.DiscardNew //nolint:gosec // three
	set := func(c jetstream.StreamConfig) {
		t.Helper()
		if _, err := l.js.UpdateStream(context.WithoutCancel(ctx), c); err != nil {
			t.Fatal(err)
		}
	}
	set(full)
	save(t, l, 10, "ten")
	if c := last(t, l); c.State != nil {
		t.Fatalf("the checkpoint is %+v", c)
	}
	set(was)
	if err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if seq, what := latest(t, l, 10); seq != 10 || what != "ten" || last(t, l).State == nil {
		t.Errorf("the latest is %q at %d", what, seq)
	}
}
