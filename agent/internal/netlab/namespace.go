package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace bound to a file, as Mesos binds a
// container's.
type Namespace struct {
	Path string
	t    testing.TB
	h    netns.NsHandle
	gone atomic.Bool
}

var counter atomic.Int64

// New makes a namespace with its loopback up. It is removed when the test ends.
func New(t testing.TB) *Namespace {
	t.Helper()
	dir := "/run/netlab"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n := &Namespace{t: t, Path: filepath.Join(dir, fmt.Sprintf("ns%d", counter.Add(1)))}
	if err := os.WriteFile(n.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	onThread(t, func() error {
		back, err := netns.Get()
		if err != nil {
			return err
		}
		defer back.Close()
		if n.h, err = netns.New(); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", n.Path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return netns.Set(back)
	})
	n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	t.Cleanup(n.Remove)
	return n
}

// OfPID is the namespace of a process. It has no path.
func OfPID(t testing.TB, pid int) *Namespace {
	t.Helper()
	h, err := netns.GetFromPid(pid)
	if err != nil {
		t.Fatal(err)
	}
	n := &Namespace{t: t, h: h}
	t.Cleanup(n.Remove)
	return n
}

// Remove lets go of the namespace, as Mesos does after DEL.
func (n *Namespace) Remove() {
	if n.gone.Swap(true) {
		return
	}
	n.h.Close()
	if n.Path == "" {
		return
	}
	unix.Unmount(n.Path, unix.MNT_DETACH)
	os.Remove(n.Path)
}

// FD is the namespace as an open file, for as long as it is there.
func (n *Namespace) FD() int { return int(n.h) }

// Do runs f on a thread inside the namespace and fails the test on its error.
func (n *Namespace) Do(f func() error) {
	n.t.Helper()
	onThread(n.t, func() error { return n.in(f) })
}

func (n *Namespace) in(f func() error) error {
	back, err := netns.Get()
	if err != nil {
		return err
	}
	defer back.Close()
	if err := netns.Set(n.h); err != nil {
		return err
	}
	err = f()
	if e := netns.Set(back); e != nil {
		panic("netlab: cannot return to the namespace: " + e.Error())
	}
	return err
}

// enter runs f inside the namespace and returns its error.
func (n *Namespace) enter(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return n.in(f)
}

// Loop runs f inside the namespace, about each millisecond, until stop is closed.
func (n *Namespace) Loop(stop <-chan struct{}, f func()) {
	n.enter(func() error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return nil
			case <-tick.C:
				f()
			}
		}
	})
}

func onThread(t testing.TB, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

// Join connects the process's own namespace (the host under test) with another
// by a veth pair, and gives each end an address with its prefix length.
func Join(t testing.TB, here, hereAddr string, there *Namespace, thereName, thereAddr string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = here
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: thereName, PeerNamespace: netlink.NsFd(there.FD())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("making a veth pair: %v", err)
	}
	up := func(name, addr string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	if err := up(here, hereAddr); err != nil {
		t.Fatal(err)
	}
	there.Do(func() error { return up(thereName, thereAddr) })
	carrier := func(name string) error { // the kernel notices in its own time
		for limit := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if l.Attrs().OperState == netlink.OperUp {
				return nil
			}
			if time.Now().After(limit) {
				return fmt.Errorf("%s has no carrier", name)
			}
		}
	}
	if err := carrier(here); err != nil {
		t.Fatal(err)
	}
	there.Do(func() error { return carrier(thereName) })
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(here); err == nil {
			netlink.LinkDel(l)
		}
	})
}
