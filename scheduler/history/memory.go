package history

import (
	"os"
	"runtime/debug"
)

const (
	// askGCPercent lets the heap grow to five times what is live. Who reads the
	// past makes much that is garbage at once, and keeps little.
	askGCPercent = 400
	// askMemory is from where, in bytes, the collector works harder again. It is no
	// bound: what is live may be more.
	askMemory = 4 << 30
)

// CollectLess has a process that does nothing else than to ask the past spend
// less time in the garbage collector, for more memory, until restore is called.
// What the environment says (GOGC, GOMEMLIMIT) stays.
func CollectLess() (restore func()) {
	restore = func() {}
	if os.Getenv("GOGC") == "" {
		percent := debug.SetGCPercent(askGCPercent)
		restore = func() { debug.SetGCPercent(percent) }
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return restore
	}
	limit, percent := debug.SetMemoryLimit(askMemory), restore
	return func() {
		debug.SetMemoryLimit(limit)
		percent()
	}
}
