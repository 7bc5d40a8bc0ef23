package attach

import (
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
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

// inside runs f in a network namespace. Sockets that f opens stay in that
// namespace and can be used from any thread.
func inside(ns int, f func() error) error {
	done := make(chan error)
	go func() {
		back, err := lockThread()
		if err != nil {
			done <- err
			return
		}
		if err = netns.Set(netns.NsHandle(ns)); err == nil {
			err = f()
		}
		back()
		done <- err
	}()
	return <-done
}

// handle opens a netlink handle in a network namespace.
func handle(ns int) (nl *netlink.Handle, err error) {
	err = inside(ns, func() (err error) {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return nl, err
}
