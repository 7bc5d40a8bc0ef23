package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netns"
)

// ErrClosed is returned by operations on a fabric that was closed.
var ErrClosed = errors.New("fabric is closed")

// Do runs f on a thread of its own inside the namespace that path names
// (/run/netns/x, /proc/<pid>/ns/net, or a bind mount). Sockets that f opens
// stay in that namespace; goroutines that f starts do not.
func Do(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, restored := within(path, f)
		if restored { // a thread that could not be brought back must die with its goroutine
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func within(path string, f func() error) (err error, restored bool) {
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err), true
	}
	defer home.Close()
	target, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err), true
	}
	defer target.Close()
	if err := netns.Set(target); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err), true
	}
	err = f()
	return err, netns.Set(home) == nil
}

// Start starts a process inside the namespace that path names. The caller
// waits for it as usual.
func Start(path string, cmd *exec.Cmd) error {
	return Do(path, cmd.Start)
}

// create makes a named namespace with its loopback up and forwarding on.
func create(name string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own namespace: %w", err)
			return
		}
		defer home.Close()
		made, err := netns.NewNamed(name) // enters it
		if err == nil {
			made.Close()
			err = prepare()
		}
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		if err != nil {
			err = fmt.Errorf("create namespace %s: %w", name, err)
		}
		done <- err
	}()
	return <-done
}

func prepare() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	return linkUp("lo")
}

// OfPid is the path of a process's namespace.
func OfPid(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }
