package agent

import (
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// Tracking is the kernel's connection tracking, as a test may stand in front of it.
type Tracking = tracking

// Through has the agent look at connections by way of another; before Run.
func (a *Agent) Through(by func(Tracking) Tracking) { a.flows = by(a.flows) }

// AtSteps has do called at each step of the process.
func AtSteps(do func(where string)) { step = do }

// ForOther sets how long New waits for another agent, and returns what it was.
func ForOther(d time.Duration) (was time.Duration) {
	was, forOther = forOther, d
	return was
}

// Hang holds what every change of the kernel needs, until release.
func (a *Agent) Hang() (release func()) {
	a.applyMu.Lock()
	return a.applyMu.Unlock
}

// CheckedLast says when a check last ended.
func (a *Agent) CheckedLast(at time.Time) { a.checked.Store(at.UnixNano()) }

// Clip is clip.
var Clip = clip

// Tally is tally.
type Tally struct{ *tally }

// NewTally is newTally.
func NewTally() Tally { return Tally{newTally()} }

// Add is add.
func (t Tally) Add(l work.Logged) { t.add(l) }

// Take is take.
func (t Tally) Take() []work.Logged { return t.take() }

// Left is left.
func (t Tally) Left(now time.Time) int { return t.left(now) }
