package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
	"github.com/taskwall/taskwall/scheduler/timeline"
)

// Who had an address is found without reading to the log's end, and is what
// reading all of the log says.
func TestWhoHeldIsWhatTheWholeLogSays(t *testing.T) {
	t.Parallel()
	const last, near = 2500, 200
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := historytest.Write(t.Context(), dir, historytest.Options{Seed: 3, Events: last, Hosts: 10, Apps: 40, Instances: 6}); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Index(t.Context(), dir, history.CopyOptions{Every: 300}); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	bounds, err := h.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q := &question{History: h, bounds: bounds, known: bounds.To}
	rnd := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // not for secrets
	lasting := 0
	for _, seq := range []uint64{600, 1200, 1900, 2400} {
		then, err := h.StateAt(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all := then.Endpoints()
		address := all[rnd.IntN(len(all))].Address
		end, err := h.StateAt(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		// One that is held to the end, if there is any.
		for _, e := range all {
			if now := end.Endpoints(); last-seq > near && slices.ContainsFunc(now, func(x policy.Endpoint) bool { return x.ID == e.ID && x.Address == e.Address }) {
				address = e.Address
				break
			}
		}
		lasts, err := lastsOn(t.Context(), q, address, seq, near)
		if err != nil {
			t.Fatal(err)
		}
		if lasts {
			lasting++
		}
		answer, err := whoHeld(t.Context(), q, address, fmt.Sprintf("seq:%d", seq), near)
		if err != nil {
			t.Fatal(err)
		}
		list, err := timeline.Holdings(scheduler.NewState(), address, seq, h.Entries(t.Context(), 1))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(timeline.At(list, seq), answer.Held, cmpopts.EquateComparable(address)); diff != "" || answer.Held == nil {
			t.Errorf("%s at %d: %s", address, seq, diff)
		}
	}
	if lasting == 0 {
		t.Error("no address was held to the log's end")
	}
}
