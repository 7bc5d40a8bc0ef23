package e2e

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/e2e/sim"
)

// promptly is how long a change may take to be in the log of a cluster whose
// streams work and whose log answers: what no event tells of is asked for every
// 200 ms, and an agent is unreachable 300 ms after it was last heard.
const promptly = 2 * time.Second

// silence is after how long a stream without heartbeats is left, and another
// opened: two intervals, of which none is taken to be shorter than a second.
const silence = 3 * time.Second

// TestChangesAreToldPromptly plays random histories without faults of the
// streams or the log, and without a comparison of the whole state: what the
// streams tell, and the answers to what they do not tell, must be enough for the
// log to add up to the truth soon after each change.
//
//	go test ./e2e -run TestChangesAreToldPromptly -histories 500 -history 1
func TestChangesAreToldPromptly(t *testing.T) {
	for i := range (*histories + 3) / 4 {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint("history=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHistory(t, seed)
				h.resync, h.slack = time.Hour, 1024
				h.playPromptly()
			})
		})
	}
}

func (h *history) playPromptly() {
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	if err := h.start(ctx); err != nil {
		h.t.Errorf("history %d: %v", h.seed, err)
		return
	}
	defer h.c.Close()
	defer h.follow()()
	for range 20 {
		patience := promptly
		if h.rng.IntN(8) == 0 {
			h.c.EvictStreams()
			patience += silence
		}
		h.happen(ctx)
		if !h.settle(ctx, patience) {
			h.t.Logf("after %v", h.ops)
			break
		}
	}
	for _, p := range h.log.troubles() {
		h.t.Errorf("history %d: %s", h.seed, p)
	}
}

// happen does one thing to the cluster, after which every agent is there.
func (h *history) happen(ctx context.Context) {
	away := func(gone, back func(*sim.Node)) func() {
		return func() {
			n := h.host()
			gone(n)
			time.Sleep(time.Duration(h.rng.Int64N(int64(time.Second))))
			back(n)
		}
	}
	started := func(n *sim.Node) { _ = n.Agent.Start() }
	h.choose([]op{
		{"create app", 8, func() { h.create(ctx, false) }},
		{"create pod", 4, func() { h.create(ctx, true) }},
		{"scale", 5, func() { h.change(ctx, fmt.Sprintf(`{"instances":%d}`, h.rng.IntN(5))) }},
		{"relabel", 4, func() { h.change(ctx, fmt.Sprintf(`{"labels":{"v":"%d"}}`, h.rng.IntN(1000))) }},
		{"delete", 4, func() { h.delete(ctx) }},
		{"a task ends", 4, h.endTask},
		{"agent unreachable", 3, away(func(n *sim.Node) { h.c.Unreachable(n.Name) }, func(n *sim.Node) { h.c.Reachable(n.Name) })},
		{"agent partitioned", 2, away(func(n *sim.Node) { n.Agent.Partition(true) }, func(n *sim.Node) { n.Agent.Partition(false) })},
		{"agent killed", 2, away(func(n *sim.Node) { n.Agent.Kill() }, started)},
		{"agent loses its id", 1, away(h.wipe, started)},
	})
}
