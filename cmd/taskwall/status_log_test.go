package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// TestStatusOfControllersAndLog shows a leader that is behind, a follower that
// is silent, and a log that nears a limit.
func TestStatusOfControllersAndLog(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	st := controller.Status{Version: "1.2", Since: now.Add(-2 * time.Minute), Controllers: []controller.Peer{
		{Name: "ctl-1/77", Epoch: 9, Settled: 990, Heard: now},
		{Name: "ctl-2/78", Version: "1.2", Settled: 985, Heard: now},
		{Name: "ctl-3/79", Version: "1.1", Settled: 400, Heard: now.Add(-20 * time.Second)},
	}}
	st.Log = controller.LogStatus{Last: 1000, Folded: 990, Keeping: controller.Keeping{
		Streams: []bus.Usage{{Stream: bus.EventsStream, First: 101, Last: 1000, Bytes: 95 << 20, MaxBytes: 100 << 20,
			Oldest: now.AddDate(0, -1, 0), MaxAge: bus.DefaultMaxAge}},
		Checkpoint: &eventlog.Checkpoint{Seq: 950, Time: now.Add(-3 * time.Minute), Key: "93cf81100c0a60d8"},
		Signs:      true,
	}}
	st.Log.Warnings = st.Log.Streams[0].Warnings(now)
	var out bytes.Buffer
	printControllers(&out, st, now)
	printKeeping(&out, st.Log, now)
	want := `Controller 1.2, leading for 2m. Log at 1000, folded to 990, 10 behind.
Leader ctl-1/77, term 9.
Follower ctl-2/78, version 1.2: folded to 985, 15 behind.
Follower ctl-3/79, version 1.1: folded to 400, 600 behind, SILENT for 20s.
Log signed up to 950, 3m ago, with key 93cf81100c0a60d8.
Log kept from record 101 of 2026-10-23 (retention has removed 1 to 100), 95.0 MiB of 100.0, each for 400d.
WARNING: stream EVENTS fills 95 % of its 104857600 bytes: the records of 2026-10-23 and after will be removed to make room
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
