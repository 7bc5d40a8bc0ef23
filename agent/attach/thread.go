package attach

import (
	"runtime"

	"github.com/vishvananda/netns"
)

// lockThread ties the goroutine to its thread, which may then change its
// namespace. The returned function goes back; if that fails the thread stays
// locked and ends with the goroutine, so that nothing else ever runs on it.
func lockThread() (back func(), err error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return func() {
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
	}, nil
}
