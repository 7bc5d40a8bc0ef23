package eventlog

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// restored puts an older backup of the stream, of so many records, in its place.
func restored(t *testing.T, l *Log, records int) {
	t.Helper()
	rewrite(t, l, stolen(t, l)[:records])
}

func publishRaw(t *testing.T, l *Log, subject, data string) {
	t.Helper()
	if _, err := bus.PublishAtomic(bustest.Context(t), l.js, []*nats.Msg{{Subject: subject, Data: []byte(data)}}); err != nil {
		t.Fatal(err)
	}
}

// A log that ends before what was in it is not written on, whatever shows it.
func TestWriterOfALogThatLostItsEndIsRefused(t *testing.T) {
	key := testKey("log")
	for name, test := range map[string]struct {
		leave func(t *testing.T, l *Log)
		o     Options
	}{
		"a checkpoint": {func(t *testing.T, l *Log) {
			if err := l.Checkpoint(bustest.Context(t)); err != nil {
				t.Fatal(err)
			}
		}, Options{Key: key}},
		"a checkpoint of another controller": {func(t *testing.T, l *Log) {
			if err := l.Checkpoint(bustest.Context(t)); err != nil {
				t.Fatal(err)
			}
		}, Options{Key: testKey("other"), Trust: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}},
		"a snapshot":  {func(t *testing.T, l *Log) { save(t, l, 10, "ten") }, Options{}},
		"a work item": {func(*testing.T, *Log) {}, Options{Caused: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, Options{Epoch: 1, Key: key})
			mustAppend(t, l, taskEvents("e", 10)...)
			test.leave(t, l)
			restored(t, l, 6)
			o := test.o
			o.Epoch = 2
			_, err := Open(bustest.Context(t), l.js, o)
			var lost *LostError
			if !errors.As(err, &lost) || lost.End != 6 || lost.Was != 10 || !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "--accept-lost-log 10") {
				t.Fatalf("opening it: %v", err)
			}
			o.AcceptLost = 9
			if _, err = Open(bustest.Context(t), l.js, o); !errors.As(err, &lost) {
				t.Fatalf("opening it when another loss is accepted: %v", err)
			}
			o.AcceptLost = 10
			on := open(t, l, o)
			if !on.Recovered() {
				t.Error("the loss is not noted")
			}
			if last := mustAppend(t, on, taskEvents("after", 6)...); last != 12 {
				t.Errorf("the log ends at %d", last)
			}
			if seqs, err := on.Snapshots(bustest.Context(t)); err != nil || len(seqs) != 0 {
				t.Errorf("the snapshots of lost records are %v, %v", seqs, err)
			}
			o.Epoch, o.AcceptLost = 3, 0
			if open(t, l, o).Recovered() {
				t.Error("what is made up for counts as lost")
			}
			open(t, l, Options{}) // who only reads may
		})
	}
}

// What anybody may have put there proves nothing.
func TestForgedCheckpointsDoNotStopTheWriter(t *testing.T) {
	l := newLog(t, Options{Epoch: 1, Key: testKey("log")})
	mustAppend(t, l, taskEvents("e", 10)...)
	for _, text := range []string{"junk", `{"seq":99,"key":"` + KeyName(testKey("log").Public().(ed25519.PublicKey)) + `","signature":"AAAA"}`} {
		publishRaw(t, l, bus.CheckpointsSubject, text)
	}
	save(t, l, 10, "ten")
	next := open(t, l, Options{Epoch: 2, Key: testKey("log")})
	if seq, what := latest(t, next, 10); seq != 10 || what != "ten" {
		t.Errorf("the latest snapshot is %q at %d", what, seq)
	}
	wantProblems(t, verify(t, next), "record 1: the checkpoint numbered 1 cannot be read: invalid character 'j' looking for beginning of value",
		"record 99: the checkpoint here is not what was signed: its signature does not fit")
}

// Epochs that went back, since the leases were made anew, fence nobody: such a
// writer does not begin.
func TestWriterOfAnEarlierEpochDoesNotBegin(t *testing.T) {
	l := newLog(t, Options{Epoch: 7})
	mustAppend(t, l, taskEvents("e", 3)...)
	if epoch, err := l.LastEpoch(bustest.Context(t)); err != nil || epoch != 7 {
		t.Errorf("the last epoch is %d, %v", epoch, err)
	}
	if _, err := Open(bustest.Context(t), l.js, Options{Epoch: 6}); !errors.Is(err, ErrFenced) {
		t.Errorf("opening it with an earlier epoch: %v", err)
	}
}

// Who follows a log that loses its end, and grows again, must not take the new
// records for those that it has.
func TestFollowNoticesThatTheLogWasReplaced(t *testing.T) {
	for name, grown := range map[string]int{"shorter": 6, "as long again": 10, "longer": 12} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, Options{Epoch: 1})
			mustAppend(t, l, taskEvents("e", 10)...)
			f := follow(t, l, 1)
			f.until(t, 1, 10)
			rs := stolen(t, l)[:6]
			for len(rs) < grown {
				rs = append(rs, &Record{Seq: uint64(len(rs) + 1), Epoch: 2, Writer: "w", Data: rs[0].Data})
			}
			relink(rs)
			rewrite(t, l, rs)
			if grown == 10 { // it is noticed at the next record
				mustAppend(t, open(t, l, Options{Epoch: 2}), taskEvent("next"))
			}
			select {
			case err := <-f.done:
				if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrInvalid) {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(40 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}

// A consumer that somebody deletes on the server is made again.
func TestFollowSurvivesTheLossOfItsConsumer(t *testing.T) {
	ctx := bustest.Context(t)
	l := newLog(t, Options{Epoch: 1})
	mustAppend(t, l, taskEvents("e", 3)...)
	f := follow(t, l, 1)
	f.until(t, 1, 3)
	s, err := l.js.Stream(ctx, bus.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	deleted := 0
	for name := range s.ConsumerNames(ctx).Name() {
		if err := s.DeleteConsumer(ctx, name); err != nil {
			t.Fatal(err)
		}
		deleted++
	}
	if deleted == 0 {
		t.Fatal("there was no consumer")
	}
	mustAppend(t, l, taskEvents("more", 3)...)
	f.until(t, 4, 6)
}

// Follow that starts beyond the end is told at once, not when the log has grown.
func TestFollowFromBeyondTheEnd(t *testing.T) {
	l := newLog(t, Options{})
	mustAppend(t, l, taskEvents("e", 3)...)
	err := l.Follow(bustest.Context(t), 6, func(events.Entry) error { return errors.New("a record came") })
	var lost *LostError
	if !errors.As(err, &lost) || lost.Was != 5 || lost.End != 3 {
		t.Errorf("it ended with %v", err)
	}
	ctx, cancel := context.WithCancel(bustest.Context(t))
	cancel()
	if err := l.Follow(ctx, 4, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("following from the end: %v", err)
	}
}
