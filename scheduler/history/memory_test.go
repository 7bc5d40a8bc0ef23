package history_test

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/taskwall/taskwall/scheduler/history"
)

// TestCollectLessHeedsTheEnvironment also sees to it that nothing of it is left.
func TestCollectLessHeedsTheEnvironment(t *testing.T) {
	was, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(was)
	now := func() (percent int, limit int64) {
		percent = debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent, debug.SetMemoryLimit(-1)
	}
	for _, tt := range []struct {
		gogc, memory string
		percent      int
		limit        int64
	}{
		{"", "", 400, 4 << 30},
		{"50", "", 100, 4 << 30},
		{"", "1GiB", 400, math.MaxInt64},
		{"50", "1GiB", 100, math.MaxInt64},
	} {
		t.Setenv("GOGC", tt.gogc) // the runtime has read it long ago
		t.Setenv("GOMEMLIMIT", tt.memory)
		restore := history.CollectLess()
		if percent, limit := now(); percent != tt.percent || limit != tt.limit {
			t.Errorf("GOGC=%s GOMEMLIMIT=%s: %d %%, limit %d", tt.gogc, tt.memory, percent, limit)
		}
		restore()
		if percent, limit := now(); percent != 100 || limit != math.MaxInt64 {
			t.Errorf("GOGC=%s GOMEMLIMIT=%s: afterwards %d %%, limit %d", tt.gogc, tt.memory, percent, limit)
		}
	}
}
