package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// sign waits for a sign of life.
func (l *lab) sign(what string, is func(work.Alive) bool) {
	l.t.Helper()
	var last work.Alive
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		last = l.alive
		l.mu.Unlock()
		if is(last) {
			return
		}
	}
	l.t.Fatalf("no sign of life %s came, the last was %+v", what, last)
}

// An agent says that it lives, how far it is and what is wrong; also one that
// hangs, and one that starts without a controller.
func TestAgentSaysThatItLives(t *testing.T) {
	var it *agent.Agent
	l := newLab(t, func(c *agent.Config) { c.AliveEvery, c.Version = 5*time.Millisecond, "1.2" })
	l.stop()
	l.prepare = func(a *agent.Agent) { it = a }
	l.start()
	l.sign("of the state on disk", func(a work.Alive) bool { return a.Rev == l.rev && a.Version == "1.2" && len(a.Trouble) == 0 })
	l.snapshot()
	l.sign("with the revision", func(a work.Alive) bool { return a.Rev == l.rev })

	troubled := func(words string) func(work.Alive) bool {
		return func(a work.Alive) bool {
			return slices.ContainsFunc(a.Trouble, func(s string) bool { return strings.Contains(s, words) })
		}
	}
	release := it.Hang()
	it.CheckedLast(time.Now().Add(-2 * time.Hour))
	l.sign("of an agent that hangs", troubled("the agent hangs"))
	it.CheckedLast(time.Now())
	release()
	l.sign("of an agent that hangs no more", func(a work.Alive) bool { return len(a.Trouble) == 0 })

	l.mu.Lock()
	l.deaf = fmt.Errorf("publishing: %w", bus.ErrDenied)
	l.mu.Unlock()
	l.troubled("takes no signs of life", true)
	l.mu.Lock()
	l.deaf = bus.ErrDisconnected
	l.mu.Unlock()
	l.troubled("takes no signs of life", false)
}
