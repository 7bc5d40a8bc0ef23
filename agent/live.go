package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// live says from time to time that the agent lives, how far it is and what is
// wrong: it waits for no lock that a change of the kernel holds, so that an agent
// that hangs can say so.
func (a *Agent) live(ctx context.Context) error {
	a.checked.Store(time.Now().UnixNano())
	for {
		a.trouble.set("hanging", a.hanging(time.Now())...)
		err := a.report.outbox.Alive(work.Alive{Version: a.cfg.Version, Rev: a.applied.Load(), Trouble: a.trouble.now()})
		if !errors.Is(err, bus.ErrDenied) {
			err = nil // it is lost with the connection, of which others speak
		}
		a.trouble.set("signs of life", saidOf("the message bus takes no signs of life of this agent, its permissions are those of an older version (docs/nats.md)", err)...)
		if !pause(ctx, a.cfg.AliveEvery*9/10+rand.N(a.cfg.AliveEvery/5)) {
			return nil
		}
	}
}

// hangsAfter is how long after the time for a check, and for an iptables-restore
// that is killed at last, the agent is said to hang.
const hangsAfter = 2 * time.Minute

// hanging says that the checks have stopped to come to an end, and since when.
func (a *Agent) hanging(now time.Time) []string {
	last := time.Unix(0, a.checked.Load())
	if now.Sub(last) < a.cfg.CheckEvery+hangsAfter {
		return nil
	}
	return []string{"the agent hangs: the last comparison of the kernel with what it should hold ended at " + last.UTC().Format(time.RFC3339) +
		"; restart it (what is in the kernel stays in force), and keep its log"}
}
