package controller

import (
	"context"
	"encoding/json"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// report takes in one report of a host. What changes the network's state goes
// into the log; what was merely measured is kept for the status.
func (c *Controller) report(ctx context.Context, r work.Report) error {
	ev := events.Event{
		Schema: events.Schema, ID: "report-" + r.ID, Source: "agent/" + r.Host,
		Time: r.Time, Received: time.Now().UTC(),
	}
	switch {
	case r.Join != nil:
		ev.Kind, ev.Join = events.AgentJoin, r.Join
		ev.Join.Host, ev.Join.Report = r.Host, r.Seq
		c.log.Info("agent joins", "host", r.Host, "reason", r.Join.Reason)
	case r.Wiring != nil:
		ev.Kind, ev.Wiring = events.EndpointState, r.Wiring
		ev.Wiring.Host, ev.Wiring.Report = r.Host, r.Seq
		if r.Wiring.State == events.Failed {
			c.log.Warn("attach failed", "host", r.Host, "task", r.Wiring.Endpoint, "error", r.Wiring.Error)
		}
	case r.Applied != nil:
		c.applied(r)
		return nil
	case r.Drift != nil:
		c.metrics.drift(r.Host)
		c.log.Warn("drift mended", "host", r.Host, "what", r.Drift.What)
		return nil
	case r.Logged != nil:
		l := r.Logged
		c.log.Info("packets "+string(l.Action), "host", r.Host, "policy", l.Policy, "rule", l.Index, "direction", l.Direction,
			"source", l.Source, "dest", l.Dest, "protocol", l.Protocol, "port", l.Port, "from", l.SourceTask, "to", l.DestTask, "count", l.Count)
		return nil
	default:
		c.log.Warn("a report says nothing this program knows", "host", r.Host, "id", r.ID)
		return nil
	}
	return c.append(ctx, ev)
}

func (c *Controller) applied(r work.Report) {
	st := AgentStatus{Applied: r.Applied.Rev, Took: r.Applied.Took, Since: r.Time, Digest: r.Applied.Digest}
	for _, f := range r.Applied.Failed {
		st.Failed = append(st.Failed, f.Key+": "+f.Error)
		c.log.Error("a host could not apply a part of its work", "host", r.Host, "rev", r.Applied.Rev, "part", f.Key, "error", f.Error)
	}
	c.metrics.applied(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, known := c.agents[r.Host]; !known || old.Applied <= st.Applied {
		c.agents[r.Host] = st
		c.wake()
	}
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
