package eventlog

import (
	"bytes"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// intrude publishes into the log's stream, as an operator may by mistake.
func intrude(t *testing.T, l *Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := l.js.PublishMsg(bustest.Context(t), &nats.Msg{Subject: bus.EventsSubject, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
}

// A message that no controller wrote has its place in the log, and the log goes
// on: for who writes, who follows, who reads and who begins after it.
func TestForeignMessages(t *testing.T) {
	l := newLog(t, Options{Epoch: 1, Key: testKey("log")})
	intrude(t, l, "hello", "") // before anything else
	f := follow(t, l, 1)
	mustAppend(t, l, taskEvents("a", 2)...)
	intrude(t, l, `{"v":1,"id":"x","kind":"task.gone","gone":{"key":"k"}}`, "b\nc", "d")
	f.until(t, 1, 7)
	next := open(t, l, Options{Epoch: 2, Key: testKey("log")}) // the last that it finds are foreign
	mustAppend(t, next, taskEvent("e"))
	intrude(t, l, "f")
	if err := next.Checkpoint(bustest.Context(t)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, next, taskEvent("g"))
	if err := next.Checkpoint(bustest.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.until(t, 8, 10)
	if epoch, err := l.LastEpoch(bustest.Context(t)); err != nil || epoch != 2 {
		t.Errorf("the last epoch is %d, %v", epoch, err)
	}
	intrude(t, l, "h")
	if epoch, err := l.LastEpoch(bustest.Context(t)); err != nil || epoch != 2 {
		t.Errorf("before a foreign message the last epoch is %d, %v", epoch, err)
	}

	want := []string{"", "", "a-0", "a-1", "", "", "", "e", "", "g", ""}
	if got := ids(t, l, 1); !slices.Equal(got, want) {
		t.Errorf("the log holds %q", got)
	}
	if got := ids(t, l, 6); !slices.Equal(got, want[5:]) {
		t.Errorf("from a foreign message on the log holds %q", got)
	}
	for e, err := range l.Read(bustest.Context(t), 1) {
		if foreign := e.Event.ID == ""; err != nil || foreign != (e.Event.Kind == events.Foreign) || e.Event.Received.IsZero() {
			t.Errorf("%+v, %v", e, err)
		}
	}
	rep := verify(t, l)
	wantProblems(t, rep)
	if rep.Records != 11 || rep.Signed != 10 {
		t.Errorf("the report is %+v", rep)
	}
	var file bytes.Buffer
	if err := l.Export(bustest.Context(t), &file); err != nil {
		t.Fatal(err)
	}
	x, err := ImportReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := verifyCopy(x, l.o.Trust...)
	if err != nil || !copied.OK() || copied.Records != 11 || copied.Signed != 10 {
		t.Errorf("of the copy: %+v, %v", copied, err)
	}
}

// What somebody published among the snapshots, of records that never were, is no
// sign of a lost log, nor does it take the place of the snapshots that are kept.
func TestForeignSnapshots(t *testing.T) {
	l := newLog(t, Options{Epoch: 1})
	mustAppend(t, l, taskEvents("e", 10)...)
	for _, seq := range []uint64{20, 21, 22, 1<<64 - 1} {
		publishRaw(t, l, bus.SnapshotSubject(seq), "junk")
	}
	manifest := &nats.Msg{Subject: bus.SnapshotSubject(23), Header: nats.Header{manifestHeader: {"1"}}, Data: []byte(`{"seq":23,"size":4}`)}
	if _, err := bus.PublishAtomic(bustest.Context(t), l.js, []*nats.Msg{manifest}); err != nil {
		t.Fatal(err)
	}
	next := open(t, l, Options{Epoch: 2})
	if next.Recovered() {
		t.Error("the log goes on as one that has lost records")
	}
	for seq := uint64(6); seq <= 10; seq++ {
		save(t, next, seq, "state")
	}
	seqs, err := next.Snapshots(bustest.Context(t))
	if want := []uint64{6, 7, 8, 9, 10, 20, 21, 22, 23, 1<<64 - 1}; err != nil || !slices.Equal(seqs, want) {
		t.Errorf("the snapshots are %v, %v", seqs, err)
	}
	if seq, _ := latest(t, next, 1<<64-1); seq != 10 {
		t.Errorf("the latest snapshot is of %d", seq)
	}
}

// A foreign message is bound by the chain as any record is, and a record can't
// be made one unseen.
func TestTamperingWithForeignMessagesIsLocated(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func([]*Record) []*Record
		want   []string
	}{
		"untouched": {func(rs []*Record) []*Record { return rs }, nil},
		"altered": {func(rs []*Record) []*Record { rs[4].Data = []byte("other"); return rs },
			[]string{"records 5 to 6: altered: the link in 6 does not fit the content of 5"}},
		"taken for a record that it replaces": {func(rs []*Record) []*Record { rs[6] = &Record{Seq: 7, Data: rs[6].Data}; return rs },
			[]string{"records 7 to 8: altered: the link in 8 does not fit the content of 7"}},
		"at the end": {func(rs []*Record) []*Record { rs[9] = &Record{Seq: 10, Data: rs[9].Data}; return rs },
			[]string{"records 5 to 10: altered: not what the checkpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t, Options{Epoch: 1, Key: testKey("log"), CheckpointEvery: 4})
			mustAppend(t, l, taskEvents("e", 4)...)
			intrude(t, l, "foreign")
			mustAppend(t, l, taskEvents("f", 5)...)
			if err := l.Checkpoint(bustest.Context(t)); err != nil {
				t.Fatal(err)
			}
			rewrite(t, l, c.tamper(stolen(t, l)))
			wantProblems(t, verify(t, l), c.want...)
		})
	}
}
