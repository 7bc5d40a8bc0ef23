package mesos

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// theirs decodes with mesos-go.
func theirs(t testing.TB, b []byte) wireEvent {
	var e master.Event
	if err := e.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	return fromEvent(&e)
}

// compared ignores what the oracle does not tell: empty from absent lists.
var compared = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateNaNs(), cmp.AllowUnexported(wireEvent{})}

func TestTheProtobufDecoderAgreesWithMesosGo(t *testing.T) {
	t.Run("recorded", func(t *testing.T) {
		for _, name := range []string{"1-subscribe/pb.body", "6-reconnect/pb2.body"} {
			rr := NewRecordReader(bytes.NewReader(recording(t, name)), 1<<20)
			for i := 0; ; i++ {
				b, err := rr.Next()
				if err != nil {
					if i < 20 {
						t.Errorf("%s: only %d records", name, i)
					}
					break
				}
				got, err := decodeEvent(b)
				if d := cmp.Diff(theirs(t, b), got, compared); d != "" || err != nil {
					t.Errorf("%s, record %d: %v, mesos-go (-), ours (+)\n%s", name, i, err, d)
				}
			}
		}
	})
	t.Run("random", func(t *testing.T) {
		g := generator{rand.New(rand.NewPCG(1, 2))}
		for i := range 600 {
			e := g.event()
			b, err := e.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeEvent(b)
			if d := cmp.Diff(theirs(t, b), got, compared); d != "" || err != nil {
				t.Fatalf("event %d: %v, mesos-go (-), ours (+)\n%s", i, err, d)
			}
		}
	})
}

// TestNoNestingExhaustsTheStack: each of these ends a process that decodes it
// with mesos-go, with a stack of 1 GB; here 256 KiB is enough.
func TestNoNestingExhaustsTheStack(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(256 << 10))
	deep := func(n int, prefix ...byte) []byte { return bytes.Repeat(prefix, n) }
	parents := []byte{0x0a, 1, 'x'}
	for range 10_000 { // a container id with as many parents
		parents = append(append([]byte{0x0a, 1, 'x', 0x12}, uvarint(len(parents))...), parents...)
	}
	status := wrap(wrap(parents, 4), 13)
	for name, b := range map[string][]byte{
		"opened groups":            deep(4<<20, 0x7b),
		"opened and closed groups": append(deep(1<<20, 0x7b), deep(1<<20, 0x7c)...),
		"parents of a container":   append([]byte{0x08, 3}, wrap(wrap(status, 2), 4)...),
	} {
		w, err := decodeEvent(b)
		if name != "opened and closed groups" && !errors.As(err, new(errPartial)) {
			t.Errorf("%s: %v", name, err)
		}
		if w.TaskUpdated != nil {
			if id := containerID(w.TaskUpdated.Status.Container.ID); strings.Count(id, ".") != maxNesting-1 {
				t.Errorf("container %q", id)
			}
		}
	}
}

func uvarint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// wrap makes b the content of a field.
func wrap(b []byte, num int) []byte {
	return append(append(uvarint(num<<3|wireBytes), uvarint(len(b))...), b...)
}

func TestOneBrokenTaskCostsNoOther(t *testing.T) {
	good := func(id string) []byte {
		task := lib.Task{Name: id, TaskID: lib.TaskID{Value: id}, FrameworkID: lib.FrameworkID{Value: "fw"}, AgentID: lib.AgentID{Value: "a"}, State: lib.TASK_RUNNING.Enum()}
		b, err := task.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tasks := wrap(good("t1"), 2)
	tasks = append(tasks, wrap([]byte{0x0a, 200, 'x'}, 2)...) // a name that is longer than the task
	tasks = append(tasks, wrap(good("t3"), 2)...)
	w, err := decodeEvent(append([]byte{0x08, 1}, wrap(wrap(wrap(tasks, 1), 1), 2)...))
	if !errors.As(err, new(errPartial)) {
		t.Errorf("got %v", err)
	}
	ts := w.Subscribed.State.Tasks.Tasks
	if len(ts) != 3 || ts[0].ID.Value != "t1" || ts[2].ID.Value != "t3" || ts[2].State != "TASK_RUNNING" {
		t.Errorf("tasks %+v", ts)
	}

	js, err := JSON.event([]byte(`{"type":"SUBSCRIBED","subscribed":{"get_state":{"get_tasks":{"tasks":[{"name":"t1"},{"name":[1]},"x",{"name":"t4","labels":{"labels":[{"key":"k","value":1},{"key":"l","value":"v"}]}}]}}}}`))
	if !errors.As(err, new(errPartial)) {
		t.Errorf("JSON: %v", err)
	}
	jts := js.Subscribed.State.Tasks.Tasks
	if len(jts) != 4 || jts[0].Name != "t1" || jts[3].Name != "t4" || jts[3].Labels.Labels[1].Value != "v" {
		t.Errorf("JSON tasks %+v", jts)
	}
}

func FuzzProtobuf(f *testing.F) {
	for _, name := range []string{"1-subscribe/pb.body", "6-reconnect/pb2.body"} {
		rr := NewRecordReader(bytes.NewReader(recording(f, name)), 1<<20)
		for b, err := rr.Next(); err == nil; b, err = rr.Next() {
			f.Add(bytes.Clone(b))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, _ := decodeEvent(b)
		w.partial = true
		_, _ = decodeResponse(b)
		take(t, w)
	})
}

func FuzzJSON(f *testing.F) {
	for _, name := range []string{"1-subscribe/json.body", "6-reconnect/json2.body", "6-reconnect/json7.body"} {
		rr := NewRecordReader(bytes.NewReader(recording(f, name)), 1<<20)
		for b, err := rr.Next(); err == nil; b, err = rr.Next() {
			f.Add(bytes.Clone(b))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, _ := JSON.event(b)
		_, _ = JSON.response(b)
		take(t, w)
	})
}

// take reduces what was decoded, however strange, after a recorded snapshot,
// and checks that the log could take what comes of it.
func take(t *testing.T, w wireEvent) {
	l := newLog()
	s, err := New(Config{Masters: []string{"m:1"}}, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.snapshot(&wireState{Agents: wireAgents{Agents: []wireAgent{wAgent("a1", "h1")}}}, false)
	s.record(&w)
	if w.Subscribed != nil && w.Subscribed.State != nil {
		s.snapshot(w.Subscribed.State, w.partial)
	}
	s.endDoomed()
	if err := s.mirror.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.mirror.Picture(), l.Folded(), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("the log (+) adds up to something else than the mirror (-):\n%s", d)
	}
	for _, e := range l.Events() {
		if n := len(encode(t, e)); n > 1_000_000 {
			t.Fatalf("an event of %d bytes", n)
		}
	}
}
