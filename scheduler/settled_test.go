package scheduler

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
)

// TestSettledWordsChangeNothing folds histories twice: as ever, and with the
// endpoints of each task that an event names evaluated.
func TestSettledWordsChangeNothing(t *testing.T) {
	skipped := 0
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		live, thorough := NewState(), NewState()
		begin := []events.Event{
			{Kind: events.PolicyApply, Policy: &events.PolicyChange{Put: []events.Resource{must(pool("main", "10.8.0.0/26", 29, "")), must(webToDB)}}},
			{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h1", Name: "h1", Address: hostAddress("h1")}},
			{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h2", Name: "h2", Address: hostAddress("h2")}},
		}
		n := rapid.IntRange(len(begin), 80).Draw(t, "events")
		var last *events.Task
		for seq := 1; seq <= n; seq++ {
			ev := step(t, &now)
			switch rapid.IntRange(0, 15).Draw(t, "other") {
			case 3, 4, 5: // a further word on the same task
				if last != nil {
					again := *last
					again.State, again.Since = "TASK_RUNNING", now
					ev = events.Event{Kind: events.TaskPut, Task: &again, Received: now}
				}
			case 0:
				name := rapid.SampledFrom([]string{"marathon", "jobs"}).Draw(t, "name")
				ev = events.Event{Kind: events.FrameworkPut, Framework: &events.Framework{ID: "fw", Name: name}, Received: now}
			case 1:
				ev = events.Event{Kind: events.FrameworkGone, Gone: &events.Gone{Key: "fw"}, Received: now}
			case 2:
				set := events.DefaultSettings()
				set.Networks = append(slices.Clone(set.Networks), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "network"))
				ev = events.Event{Kind: events.SettingsPut, Settings: &set, Received: now}
			}
			if seq <= len(begin) {
				ev = begin[seq-1]
			}
			entry := events.Entry{Seq: uint64(seq), Event: ev}
			if ev.Kind == events.TaskPut {
				last = ev.Task
				if old, had := live.cluster.Tasks[ev.Task.Key()]; had && live.settled(&old, ev.Task, holders(ev.Task.Key(), ev.Task)) {
					skipped++
				}
			}
			thorough.shaped = math.MaxUint64 // nothing is ever settled
			if a, b := encode(t, live.Apply(entry)), encode(t, thorough.Apply(entry)); !bytes.Equal(a, b) {
				t.Fatalf("event %d makes\n%s\nand when every word is evaluated\n%s", seq, a, b)
			}
			if a, b := encode(t, live), encode(t, thorough); !bytes.Equal(a, b) {
				t.Fatalf("after event %d the state is\n%s\nand when every word is evaluated\n%s", seq, a, b)
			}
			if a, b := once(slices.Clone(live.Touched())), once(slices.Clone(thorough.Touched())); !slices.Equal(a, b) {
				t.Fatalf("event %d touches %v, and when every word is evaluated %v", seq, a, b)
			}
		}
	})
	if skipped == 0 {
		t.Error("no word was settled")
	}
}
