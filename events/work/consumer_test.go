package work_test

import (
	"context"
	"errors"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// Somebody deletes the consumer with which the reports are followed: they are
// followed on, each once.
func TestFollowingReportsSurvivesTheLossOfItsConsumer(t *testing.T) {
	ctx, cancel := context.WithCancel(bustest.Context(t))
	c := bustest.Streams(t)
	reporter := work.NewReporter(c, "a")
	report := func(rev uint64) {
		t.Helper()
		if err := reporter.Report(ctx, work.Report{Applied: &work.Applied{Rev: rev}}); err != nil {
			t.Fatal(err)
		}
	}
	report(1)
	revs, done := make(chan uint64, 10), make(chan error, 1)
	go func() {
		done <- work.FollowReports(ctx, c.JS, "controller", work.From{}, func(_ context.Context, rs []work.Report) error {
			for _, r := range rs {
				revs <- r.Applied.Rev
			}
			return nil
		}, bustest.Log(t))
	}()
	for rev := uint64(1); rev <= 3; rev++ {
		if got := <-revs; got != rev {
			t.Fatalf("report %d came where %d was due", got, rev)
		}
		s, err := c.JS.Stream(ctx, bus.ReportsStream)
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
		if rev == 1 && deleted == 0 {
			t.Error("there was no consumer")
		}
		report(rev + 1)
	}
	if got := <-revs; got != 4 {
		t.Errorf("report %d came last", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("following ended with %v", err)
	}
}
