package clock_test

import (
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/sim/clock"
)

func TestManualClockFiresWhatIsDue(t *testing.T) {
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	c := clock.NewManual(start)
	soon, _ := c.After(time.Second)
	later, _ := c.After(time.Minute)
	stopped, stop := c.After(time.Second)
	stop()
	now, _ := c.After(0)
	if c.Waiting() != 2 {
		t.Errorf("%d timers wait", c.Waiting())
	}
	<-now
	c.Advance(time.Second)
	if at := <-soon; !at.Equal(start.Add(time.Second)) || !c.Now().Equal(at) {
		t.Errorf("fired at %v, now %v", at, c.Now())
	}
	select {
	case <-later:
		t.Error("a timer fired early")
	case <-stopped:
		t.Error("a stopped timer fired")
	default:
	}
	c.Advance(time.Hour)
	<-later
}

func TestRealClock(t *testing.T) {
	fired, stop := clock.Real{}.After(time.Millisecond)
	defer stop()
	if at := <-fired; time.Since(at) > time.Minute {
		t.Errorf("fired at %v", at)
	}
}
