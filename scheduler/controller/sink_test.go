package controller

import (
	"context"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// TestTheSameHappensAgainInTheNextTerm: something goes and comes back as it was,
// and each time another leads. A source begins to count in each term, so both
// events have one id; neither may be taken for the other.
func TestTheSameHappensAgainInTheNextTerm(t *testing.T) {
	p := newPlace(t)
	c, stop := p.start("c", 1000)
	defer stop()
	var sink Sink
	c.cfg.Sources = func(s Sink, _ *events.Cluster, _ time.Time) ([]Source, error) { sink = s; return nil, nil }
	now := time.Now().UTC()
	come := events.Event{Schema: events.Schema, ID: "come", Kind: events.FrameworkPut, Source: "mesos", Time: now, Received: now, Framework: &events.Framework{ID: "fw"}}
	leave := events.Event{Schema: events.Schema, ID: "leave", Kind: events.FrameworkGone, Source: "mesos", Time: now, Received: now, Gone: &events.Gone{Key: "fw"}}
	known := func() bool {
		cluster, _ := c.cluster()
		return cluster.Frameworks["fw"].ID != ""
	}
	for epoch := uint64(1); epoch <= 3; epoch++ {
		resign := p.lead(c, p.newTerm(epoch))
		evs := []events.Event{come}
		for range 2 { // what is appended again, since it is not known to be stored, is there once
			if err := sink(context.Background(), evs...); err != nil {
				t.Fatal(err)
			}
		}
		if evs[0].ID != "come" {
			t.Errorf("the source's event has the id %q now", evs[0].ID)
		}
		p.until("it to come", known)
		if err := sink(context.Background(), leave); err != nil {
			t.Fatal(err)
		}
		p.until("it to leave", func() bool { return !known() })
		resign()
	}
	if last, err := c.cfg.Log.Last(t.Context()); err != nil || last != 3*3 { // with the terms
		t.Errorf("the log ends at %d, %v", last, err)
	}
}
