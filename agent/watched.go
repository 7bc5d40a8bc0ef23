package agent

import (
	"context"
	"time"
)

// How soon what watches the kernel is begun anew after a fault, at first and
// when it fails each time.
const (
	watchAgain   = time.Second
	watchAtLeast = time.Minute
)

// watched keeps something at work that tells of the kernel's changes: a
// subscription that fails, for want of memory, descriptors or whatever, ends
// neither the agent nor, for long, the watch. What it missed the check finds.
func (a *Agent) watched(ctx context.Context, what string, watch func(context.Context) error) error {
	pause := watchAgain
	for {
		begun := time.Now()
		well := time.AfterFunc(watchAtLeast, func() { a.trouble.set("watch of " + what) })
		err := watch(ctx)
		well.Stop()
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > watchAtLeast {
			pause = watchAgain
		}
		a.log.Error("a watch on the kernel failed; it is begun anew, and until then the checks find what it would", "what", what, "again", pause, "error", err)
		a.trouble.set("watch of "+what, saidOf("the watch of "+what+" fails", err)...)
		a.hurry()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, watchAtLeast)
	}
}
