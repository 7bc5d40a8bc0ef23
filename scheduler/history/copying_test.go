package history_test

import (
	"path/filepath"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
)

// A copy of a busy cluster takes minutes. What hosts say meanwhile is no part of
// it: neither the report, nor the record that is made of it.
func TestACopyEndsWhereTheStreamsDidWhenItBegan(t *testing.T) {
	t.Parallel()
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	log, err := eventlog.Open(ctx, c.JS, eventlog.Options{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := work.NewPublisher(ctx, c.JS, 1)
	if err != nil {
		t.Fatal(err)
	}
	state := scheduler.NewState()
	place := uint64(0)
	// join lets a host join, and the controller take it in.
	join := func(host string) {
		t.Helper()
		place++
		r := work.Report{Host: host, Seq: place, Join: &events.Join{Address: "192.0.2.1"}}
		if err := work.NewReporter(c, host).Report(ctx, r); err != nil {
			t.Fatal(err)
		}
		ev, _ := r.Word()
		ev.Schema, ev.ID, ev.Source = events.Schema, "report-of-"+host, "agent/"+host
		seq, err := log.Append(ctx, ev)
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(ctx, state.Apply(events.Entry{Seq: seq, Event: ev})...); err != nil {
			t.Fatal(err)
		}
	}
	join("h1")
	dir := filepath.Join(t.TempDir(), "copy")
	done, err := history.Copy(ctx, c.JS, dir, history.CopyOptions{Progress: func(p history.Progress) {
		if p.Part == bus.ReportsStream && place == 1 {
			join("h2")
		}
	}})
	if err != nil || place != 2 || done.Reports != 1 || done.Items != 1 || done.Events != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	done, err = history.Copy(ctx, c.JS, dir, history.CopyOptions{})
	if err != nil || done.Reports != 1 || done.Items != 1 || done.Events != 1 {
		t.Fatalf("what came meanwhile: %+v, %v", done, err)
	}
}
