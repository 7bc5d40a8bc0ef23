package controller

import (
	"context"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
)

// retentionEvery is how often the leader looks at the limits of the streams.
const retentionEvery = time.Minute

// mendEvery is how often the leader looks whether somebody changed how the
// streams are set up: meanwhile records could go, or items not reach their hosts.
const mendEvery = 10 * time.Second

// Keeping is how the log is kept: how full its streams are, and what proves
// that nobody changed it.
type Keeping struct {
	Streams []bus.Usage `json:"streams,omitempty"`
	// Warnings say what retention will remove soon, and what is wrong with the
	// streams.
	Warnings   []string             `json:"warnings,omitempty"`
	Checkpoint *eventlog.Checkpoint `json:"checkpoint,omitempty"` // the latest
	// Signs tells whether the leader has a key to sign with.
	Signs bool `json:"signs"`
}

// keep signs the log's end and looks at its limits, now and then, also when
// nothing is appended.
func (c *Controller) keep(ctx context.Context, t *term) error {
	sign, look, mend := time.NewTicker(c.cfg.CheckpointEvery), time.NewTicker(retentionEvery), time.NewTicker(mendEvery)
	defer sign.Stop()
	defer look.Stop()
	defer mend.Stop()
	wrong := c.mend(ctx, "")
	c.lookAtLog(ctx, t, wrong)
	for {
		select {
		case <-sign.C:
			c.checkpoint(ctx, t)
			c.lookAtLog(ctx, t, wrong)
		case <-look.C:
			c.lookAtLog(ctx, t, wrong)
		case <-mend.C:
			if now := c.mend(ctx, wrong); now != wrong {
				wrong = now
				c.lookAtLog(ctx, t, wrong)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Controller) checkpoint(ctx context.Context, t *term) {
	if err := t.Log.Checkpoint(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("the event log goes on without a checkpoint", "error", err)
	}
}

// mend brings the streams back to their configuration, and returns what could
// not be, or "". It says so when that is not what it was.
func (c *Controller) mend(ctx context.Context, was string) (wrong string) {
	if c.cfg.Mend == nil {
		return ""
	}
	found, err := c.cfg.Mend(ctx)
	for _, f := range found {
		c.log.Error("somebody changed how a stream is set up; changing it back", "found", f)
	}
	c.metrics.mended.Add(float64(len(found)))
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if wrong = err.Error(); wrong != was {
		c.log.Error("a stream is not set up as it must be", "error", err)
	}
	return wrong
}

// lookAtLog looks how full the streams are and what is signed. wrong is what
// else is wrong with them, or "".
func (c *Controller) lookAtLog(ctx context.Context, t *term, wrong string) {
	k := Keeping{Signs: t.Signs}
	var err error
	if k.Streams, err = t.Log.CheckRetention(ctx); err != nil {
		if ctx.Err() == nil {
			c.log.Warn("could not look at the limits of the event log", "error", err)
		}
		return
	}
	if k.Checkpoint, err = t.Log.LastCheckpoint(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("could not look at the last checkpoint of the event log", "error", err)
	}
	if wrong != "" {
		k.Warnings = append(k.Warnings, strings.Split(wrong, "\n")...) // of each stream
	}
	for _, u := range k.Streams {
		k.Warnings = append(k.Warnings, u.Warnings(time.Now())...)
	}
	c.metrics.kept(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range k.Streams {
		if u.Stream == bus.ReportsStream && c.read > 0 {
			c.metrics.unread.Set(float64(u.Last - min(u.Last, c.read)))
		}
	}
	c.keeping = k
}
