package eventlog

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// report stores n reports of a host.
func report(t *testing.T, l *Log, host string, n int) {
	t.Helper()
	for i := range n {
		data := fmt.Appendf(nil, `{"id":"%s-%d","drift":{"what":"a route"}}`, host, i)
		if _, err := l.js.Publish(bustest.Context(t), bus.ReportsSubject(host), data); err != nil {
			t.Fatal(err)
		}
	}
}

// marked is the mark in the last checkpoint, which it must have.
func marked(t *testing.T, l *Log) ReportsMark {
	t.Helper()
	if err := l.Checkpoint(bustest.Context(t)); err != nil {
		t.Fatal(err)
	}
	c, err := l.LastCheckpoint(bustest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if c == nil || c.Reports == nil {
		t.Fatalf("the checkpoint is %+v", c)
	}
	return *c.Reports
}

// tallied are the marks after each of the stored reports, all read anew.
func tallied(t *testing.T, l *Log) map[uint64]ReportsMark {
	t.Helper()
	all, m := map[uint64]ReportsMark{}, ReportsMark{First: 1}
	for msg, err := range bus.Fetch(bustest.Context(t), l.js, bus.ReportsStream, "", 1, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		host, data := StoredReport(msg)
		m = m.Next(msg.Sequence, msg.Time, host, data)
		all[m.Last] = m
	}
	return all
}

// verifyReports reads the stored reports and compares them with the checkpoints.
func verifyReports(t *testing.T, l *Log) *ReportsReport {
	t.Helper()
	all, err := l.Checkpoints(bustest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	v := NewReportsVerifier(all, l.o.Trust...)
	for msg, err := range bus.Fetch(bustest.Context(t), l.js, bus.ReportsStream, "", 1, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		host, data := StoredReport(msg)
		v.Take(msg.Sequence, msg.Time, host, data)
	}
	return v.End(true)
}

func TestReportsAreSignedAcrossTakeovers(t *testing.T) {
	t.Parallel()
	ctx := bustest.Context(t)
	first := newLog(t, Options{Epoch: 1, Key: testKey("log")})
	mustAppend(t, first, taskEvent("a"))
	report(t, first, "h1", 5)
	if got, want := marked(t, first), tallied(t, first)[5]; got != want {
		t.Errorf("the first says %+v, want %+v", got, want)
	}
	// Also when no event comes meanwhile.
	report(t, first, "h2", 2)
	if got, want := marked(t, first), tallied(t, first)[7]; got != want {
		t.Errorf("then %+v, want %+v", got, want)
	}

	// What somebody without the key puts there is not gone on with.
	forged := Sign(testKey("forger"), Checkpoint{Seq: 1, Hash: Hash{1}, Reports: &ReportsMark{First: 1, Last: 6, Hash: Hash{2}}, Time: time.Now()})
	data, err := json.Marshal(forged)
	if err == nil {
		_, err = bus.PublishAtomic(ctx, first.js, []*nats.Msg{{Subject: bus.CheckpointsSubject, Data: data}})
	}
	if err != nil {
		t.Fatal(err)
	}
	report(t, first, "h1", 3)
	second := open(t, first, Options{Epoch: 2, Key: testKey("log")})
	mustAppend(t, second, taskEvent("b"))
	if got, want := marked(t, second), tallied(t, second)[10]; got != want {
		t.Errorf("after a takeover %+v, want %+v", got, want)
	}

	// One with a key of its own reads them all, and says the same.
	third := open(t, first, Options{Epoch: 3, Key: testKey("other"), Trust: second.o.Trust})
	stranger := open(t, first, Options{Epoch: 3, Key: testKey("stranger")})
	report(t, first, "h3", 1)
	want := tallied(t, first)[11]
	for name, l := range map[string]*Log{"who trusts the others": third, "who does not": stranger} {
		if got := marked(t, l); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if rep := verifyReports(t, third); len(rep.Problems) > 0 || rep.Signed != 11 {
		t.Errorf("verified %+v", rep)
	}
}

// Reports that were removed from the streams, with the stream, leave a trace
// even when as many others have come.
func TestReportsWhoseStreamWasReplaced(t *testing.T) {
	t.Parallel()
	ctx := bustest.Context(t)
	l := newLog(t, Options{Epoch: 1, Key: testKey("log")})
	mustAppend(t, l, taskEvent("a"))
	report(t, l, "h1", 5)
	marked(t, l)
	s, err := l.js.Stream(ctx, bus.ReportsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if err := l.js.DeleteStream(ctx, bus.ReportsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := l.js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	report(t, l, "h2", 3)
	rep := verifyReports(t, l)
	if len(rep.Problems) != 1 || rep.Problems[0].From != 4 || rep.Problems[0].To != 5 {
		t.Errorf("with fewer: %+v", rep.Problems)
	}
	l = open(t, l, Options{Epoch: 2, Key: testKey("log")})
	if m := marked(t, l); m.First != 1 || m.Last != 3 {
		t.Errorf("signed anew: %+v", m)
	}
	report(t, l, "h2", 3)
	marked(t, l)
	if rep = verifyReports(t, l); len(rep.Problems) == 0 {
		t.Error("with more, nothing was found")
	}
}
