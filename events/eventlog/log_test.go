package eventlog

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// taskEvent is a small event with this id.
func taskEvent(id string) events.Event {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return events.Event{
		Schema: events.Schema, ID: id, Kind: events.TaskPut, Source: "mesos", Time: at, Received: at,
		Task: &events.Task{Framework: "fw", ID: id, Executor: id, Agent: "a1", State: "TASK_RUNNING"},
	}
}

func taskEvents(prefix string, n int) []events.Event {
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = taskEvent(fmt.Sprintf("%s-%d", prefix, i))
	}
	return evs
}

func open(t *testing.T, l0 *Log, o Options) *Log {
	t.Helper()
	o.Logger = bustest.Log(t)
	l, err := Open(bustest.Context(t), l0.js, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newLog(t *testing.T, o Options) *Log {
	t.Helper()
	o.Logger = bustest.Log(t)
	l, err := Open(bustest.Context(t), bustest.Streams(t).JS, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, l *Log, evs ...events.Event) uint64 {
	t.Helper()
	last, err := l.Append(bustest.Context(t), evs...)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// ids reads the whole log and checks that its sequences have no gap.
func ids(t *testing.T, l *Log, from uint64) []string {
	t.Helper()
	var all []string
	next := max(from, 1)
	for e, err := range l.Read(bustest.Context(t), from) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != next {
			t.Fatalf("record %d where %d was due", e.Seq, next)
		}
		next++
		all = append(all, e.Event.ID)
	}
	return all
}

func TestAppendThenRead(t *testing.T) {
	l := newLog(t, Options{})
	if got := ids(t, l, 0); len(got) != 0 {
		t.Fatalf("a new log holds %v", got)
	}
	if last := mustAppend(t, l, taskEvent("one")); last != 1 {
		t.Fatalf("the first record is %d", last)
	}
	if last := mustAppend(t, l, taskEvents("more", 2500)...); last != 2501 {
		t.Fatalf("the last record is %d", last)
	}
	all := ids(t, l, 0)
	if len(all) != 2501 || all[0] != "one" || all[2500] != "more-2499" {
		t.Fatalf("read %d records, from %s to %s", len(all), all[0], all[len(all)-1])
	}
	if tail := ids(t, l, 2500); len(tail) != 2 || tail[1] != "more-2499" {
		t.Fatalf("the tail is %v", tail)
	}
}

func TestAppendSkipsWhatIsStored(t *testing.T) {
	l := newLog(t, Options{Epoch: 1})
	mustAppend(t, l, taskEvents("a", 3)...)
	if last := mustAppend(t, l, taskEvent("a-1")); last != 3 {
		t.Fatalf("an event stored before moved the end to %d", last)
	}
	// Another writer does not know what the first wrote; the stream does.
	l = open(t, l, Options{Epoch: 2})
	if last := mustAppend(t, l, taskEvent("a-2"), taskEvent("new"), taskEvent("a-0"), taskEvent("new")); last != 4 {
		t.Fatalf("the last record is %d, want 4", last)
	}
	if got, want := fmt.Sprint(ids(t, l, 1)), "[a-0 a-1 a-2 new]"; got != want {
		t.Fatalf("the log holds %s, want %s", got, want)
	}
	if last := mustAppend(t, open(t, l, Options{Epoch: 3}), taskEvent("a-0")); last != 4 {
		t.Fatalf("an event stored before moved the end to %d", last)
	}
}

func TestLaterWriterFencesEarlier(t *testing.T) {
	ctx := bustest.Context(t)
	old := newLog(t, Options{Epoch: 1})
	mustAppend(t, old, taskEvent("a"))
	young := open(t, old, Options{Epoch: 2})

	mustAppend(t, old, taskEvent("b")) // under way when the lease was lost: a fact like any other
	if last := mustAppend(t, young, taskEvent("c")); last != 3 {
		t.Fatalf("the later writer's record is %d", last)
	}
	for range 2 {
		if _, err := old.Append(ctx, taskEvent("d")); !errors.Is(err, ErrFenced) {
			t.Fatalf("the earlier writer got %v", err)
		}
	}
	if got, want := fmt.Sprint(ids(t, young, 1)), "[a b c]"; got != want {
		t.Fatalf("the log holds %s, want %s", got, want)
	}
}

func TestTwoWritersOfOneEpoch(t *testing.T) {
	a := newLog(t, Options{Epoch: 1})
	b := open(t, a, Options{Epoch: 1})
	mustAppend(t, a, taskEvent("a"))
	if _, err := b.Append(bustest.Context(t), taskEvent("b")); !errors.Is(err, ErrFenced) {
		t.Fatalf("the second writer got %v", err)
	}
	mustAppend(t, a, taskEvent("c"))
}

func TestAppendRefusesWhatTheFoldCannotRead(t *testing.T) {
	l := newLog(t, Options{})
	for name, spoil := range map[string]func(*events.Event){
		"no id":         func(e *events.Event) { e.ID = "" },
		"newline in id": func(e *events.Event) { e.ID = "a\r\nNats-Rollup: all" },
		"no body":       func(e *events.Event) { e.Task = nil },
		"other body":    func(e *events.Event) { e.Kind = events.HostPut },
		"two bodies":    func(e *events.Event) { e.Gone = &events.Gone{} },
		"unknown kind":  func(e *events.Event) { e.Kind = "task.poke" },
		"no schema":     func(e *events.Event) { e.Schema = 0 },
		"later schema":  func(e *events.Event) { e.Schema = events.Schema + 1 },
	} {
		e := taskEvent("x")
		spoil(&e)
		if _, err := l.Append(bustest.Context(t), taskEvent("good"), e); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := ids(t, l, 0); len(got) != 0 {
		t.Errorf("the log holds %v", got)
	}
}

func TestSnapshots(t *testing.T) {
	ctx := bustest.Context(t)
	l := newLog(t, Options{})
	if _, _, ok, err := l.LatestSnapshot(ctx, 100); ok || err != nil {
		t.Fatalf("a new log has a snapshot: %v, %v", ok, err)
	}
	big := make([]byte, 3<<20)
	for i := range big {
		big[i] = byte(i * i >> 7)
	}
	for seq := uint64(10); seq <= 100; seq += 10 {
		big[0] = byte(seq)
		if err := l.SaveSnapshot(ctx, seq, big); err != nil {
			t.Fatal(err)
		}
	}
	for notAfter, want := range map[uint64]uint64{100: 100, 99: 90, 1000: 100, 15: 10} {
		seq, data, ok, err := l.LatestSnapshot(ctx, notAfter)
		if err != nil || !ok || seq != want || len(data) != len(big) || data[0] != byte(want) {
			t.Errorf("latest at %d: %d, %d bytes, %v, %v; want %d", notAfter, seq, len(data), ok, err, want)
		}
	}
	if _, _, ok, err := l.LatestSnapshot(ctx, 9); ok || err != nil {
		t.Errorf("a snapshot before the first: %v, %v", ok, err)
	}
	seqs, err := l.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(seqs), "[10 70 80 90 100]"; got != want {
		t.Errorf("kept %s, want the first of the day and the last few: %s", got, want)
	}
}
