package controller

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// report takes in reports of hosts. What changes the network's state goes into
// the log, all in one piece; what was merely measured is kept for the status.
func (c *Controller) report(ctx context.Context, rs []work.Report) error {
	var evs []events.Event
	for _, r := range rs {
		ev, ok := c.reported(r)
		if !ok {
			continue
		}
		// A host says what it likes: it must not hold up the others.
		if err := eventlog.Validate(&ev); err != nil {
			c.log.Error("passing over a report", "host", r.Host, "seq", r.Seq, "error", err)
			continue
		}
		evs = append(evs, ev)
	}
	if err := c.record(ctx, evs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rs {
		c.read = max(c.read, r.Seq)
	}
	return nil
}

// recordRetry is the pause before appending again what could not be.
const recordRetry = 200 * time.Millisecond

// record appends what hosts reported. While the log is away it tries on, for
// as long as the term lasts.
func (c *Controller) record(ctx context.Context, evs []events.Event) error {
	for said := false; len(evs) > 0; said = true {
		err := c.append(ctx, evs...)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, eventlog.ErrFenced), errors.Is(err, errNotLeading):
			return err
		case errors.Is(err, eventlog.ErrTooLarge) && len(evs) > 1:
			for _, ev := range evs {
				if err := c.record(ctx, []events.Event{ev}); err != nil {
					return err
				}
			}
			return nil
		case errors.Is(err, eventlog.ErrTooLarge):
			c.log.Error("passing over a report", "source", evs[0].Source, "id", evs[0].ID, "error", err)
			return nil
		}
		if !said {
			c.log.Warn("reports of hosts could not be put into the log; trying on", "reports", len(evs), "error", err)
		}
		select {
		case <-time.After(recordRetry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// reported is the event that a report becomes; ok is false if it becomes none.
func (c *Controller) reported(r work.Report) (ev events.Event, ok bool) {
	ev, ok = r.Word()
	ev.Schema, ev.ID, ev.Source = events.Schema, "report-"+r.ID, "agent/"+r.Host
	ev.Time, ev.Received = r.Time, time.Now().UTC()
	switch {
	case r.Join != nil:
		c.log.Info("agent joins", "host", r.Host, "reason", r.Join.Reason)
	case r.Wiring != nil:
		if r.Wiring.State == events.Failed {
			c.log.Warn("attach failed", "host", r.Host, "task", r.Wiring.Endpoint, "error", r.Wiring.Error)
		}
	case r.Session != nil:
		c.sessionReported(ev.Session)
	case r.Refused != nil:
		c.refusalReported(ev.Refused)
	case r.Applied != nil:
		c.applied(r)
	case r.Drift != nil:
		c.metrics.drift(r.Host)
		c.log.Warn("drift mended", "host", r.Host, "what", r.Drift.What)
	case r.Logged != nil:
		l := r.Logged
		c.log.Info("packets "+string(l.Action), "host", r.Host, "policy", l.Policy, "rule", l.Index, "direction", l.Direction,
			"source", l.Source, "dest", l.Dest, "protocol", l.Protocol, "port", l.Port, "from", l.SourceTask, "to", l.DestTask, "count", l.Count)
	default:
		c.log.Warn("a report says nothing this program knows", "host", r.Host, "id", r.ID)
	}
	return ev, ok
}

func (c *Controller) applied(r work.Report) {
	st := AgentStatus{Applied: r.Applied.Rev, Took: r.Applied.Took, Since: r.Time, Digest: r.Applied.Digest, Trouble: r.Applied.Trouble,
		told: time.Now()}
	for _, f := range r.Applied.Failed {
		st.Failed = append(st.Failed, f.Key+": "+f.Error)
		c.log.Error("a host could not apply a part of its work", "host", r.Host, "rev", r.Applied.Rev, "part", f.Key, "error", f.Error)
	}
	c.metrics.applied(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, known := c.agents[r.Host]; !known || old.Applied <= st.Applied {
		c.troubled(r.Host, old.Trouble, st.Trouble)
		st.Heard, st.Version = old.Heard, old.Version
		c.agents[r.Host] = st
		c.wake()
	}
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
