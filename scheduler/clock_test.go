package scheduler

import (
	"fmt"
	"testing"
	"time"
)

// A controller's clock that was ahead for a while, by however much, must not hold
// addresses back until that time has come; nor may it give one away that was
// released a moment ago.
func TestAClockThatWasAheadHoldsNothingBack(t *testing.T) {
	w := threeHosts(t)
	w.apply(pool("main", "10.8.0.0/30", 30, "")) // four addresses in all
	right := w.now
	for i := range 4 {
		w.task(fmt.Sprint("a", i), "h1", "TASK_RUNNING")
	}
	end := func(id string) {
		w.task(id, "h1", "TASK_KILLED")
		w.detached("h1", id)
	}
	w.now = right.Add(365 * 24 * time.Hour)
	end("a0")
	w.now = right.Add(time.Minute)
	w.task("b", "h1", "TASK_STAGING")
	if e := w.endpoint("h1", "b"); e.Address.IsValid() {
		t.Error("an address is used again at once when the clock is put right")
	}
	if now := w.state.Now(); !now.Equal(w.now) {
		t.Errorf("it is %v, not %v", now, w.now)
	}
	w.now = right.Add(3 * time.Minute)
	end("a1") // any release lets those who wait try again
	if e := w.endpoint("h1", "b"); !e.Address.IsValid() {
		t.Errorf("an address is held back for as long as the clock was ahead: %s", e.Refused)
	}
	// Events that came late, and clocks that differ a little, do not turn it back.
	late := w.now
	w.now = w.now.Add(-clockBack)
	w.task("d", "h1", "TASK_STAGING")
	if now := w.state.Now(); !now.Equal(late) {
		t.Errorf("it went back to %v", now)
	}
}
