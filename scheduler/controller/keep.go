package controller

import (
	"context"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
)

// retentionEvery is how often the leader looks at the limits of the streams.
const retentionEvery = time.Minute

// Keeping is how the log is kept: how full its streams are, and what proves
// that nobody changed it.
type Keeping struct {
	Streams []bus.Usage `json:"streams,omitempty"`
	// Warnings say what retention will remove soon.
	Warnings   []string             `json:"warnings,omitempty"`
	Checkpoint *eventlog.Checkpoint `json:"checkpoint,omitempty"` // the latest
	// Signs tells whether the leader has a key to sign with.
	Signs bool `json:"signs"`
}

// keep signs the log's end and looks at its limits, now and then, also when
// nothing is appended.
func (c *Controller) keep(ctx context.Context, t *term) error {
	sign, look := time.NewTicker(c.cfg.CheckpointEvery), time.NewTicker(retentionEvery)
	defer sign.Stop()
	defer look.Stop()
	c.lookAtLog(ctx, t)
	for {
		select {
		case <-sign.C:
			c.checkpoint(ctx, t)
			c.lookAtLog(ctx, t)
		case <-look.C:
			c.lookAtLog(ctx, t)
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

func (c *Controller) lookAtLog(ctx context.Context, t *term) {
	k := Keeping{Signs: t.Signs}
	var err error
	if k.Streams, err = t.Log.CheckRetention(ctx); err == nil {
		k.Checkpoint, err = t.Log.LastCheckpoint(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("could not look at the limits of the event log", "error", err)
		}
		return
	}
	for _, u := range k.Streams {
		k.Warnings = append(k.Warnings, u.Warnings(time.Now())...)
	}
	c.metrics.kept(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeping = k
}
