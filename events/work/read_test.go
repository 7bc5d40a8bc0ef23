package work_test

import (
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

func TestReadsStoredReportsAlsoThoseThatCannotBeRead(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	before := time.Now()
	join := work.Report{Join: &events.Join{Host: "someone-else", Reason: "start"}}
	if err := work.NewReporter(c, "node.1").Report(ctx, join); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.Publish(ctx, bus.ReportsSubject("rogue"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := work.NewReporter(c, "node.1").Report(ctx, work.Report{Applied: &work.Applied{Rev: 3}}); err != nil {
		t.Fatal(err)
	}
	var got []work.StoredReport
	for r, err := range work.ReadReports(ctx, c.JS, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 3 {
		t.Fatalf("read %d reports of 3", len(got))
	}
	for i, host := range []string{"node.1", "rogue", "node.1"} {
		if r := got[i]; r.Host != host || r.Seq != uint64(i+1) || r.Stored.Before(before) || (r.Err != nil) != (host == "rogue") {
			t.Errorf("report %d is %+v", i+1, r)
		}
	}
	if got[0].Join == nil || got[0].Join.Host != "node.1" {
		t.Errorf("the host in a report is %+v, not who was let publish it", got[0].Join)
	}
	for r, err := range work.ReadReports(ctx, c.JS, 3) {
		if err != nil || r.Seq != 3 || r.Applied.Rev != 3 {
			t.Errorf("read %+v, %v from 3 on", r, err)
		}
	}
}
