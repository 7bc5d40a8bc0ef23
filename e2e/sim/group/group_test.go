package group_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/taskwall/taskwall/e2e/sim/group"
)

// TestCloseBesideGo: goroutines that start while the group closes either run
// before Close returns, or not at all.
func TestCloseBesideGo(t *testing.T) {
	for range 200 {
		var g group.Group
		var ran atomic.Int64
		var starters sync.WaitGroup
		for range 4 {
			starters.Go(func() {
				for range 10 {
					g.Go(func() { ran.Add(1) })
				}
			})
		}
		g.Close()
		after := ran.Load()
		starters.Wait()
		g.Go(func() { ran.Add(1) })
		if g.Enter() {
			t.Fatal("a closed group let one in")
		}
		if now := ran.Load(); now != after {
			t.Fatalf("%d goroutines ran after Close", now-after)
		}
	}
}
