package nflog_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/nflog"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A group that another process has is told from a process that may have none.
func TestWhyAGroupCannotBeHad(t *testing.T) {
	const group = 84
	c, err := nflog.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := nflog.Open(group); !errors.Is(err, nflog.ErrTaken) {
		t.Errorf("of a group that another has: %v", err)
	}
	for _, g := range []uint16{group, group + 1} {
		if err := unprivileged(t, func() error { _, err := nflog.Open(g); return err }); !errors.Is(err, unix.EPERM) || errors.Is(err, nflog.ErrTaken) {
			t.Errorf("of group %d, without CAP_NET_ADMIN: %v", g, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := nflog.Open(group)
	if err != nil {
		t.Fatalf("of a group that was given back: %v", err)
	}
	again.Close()
}

// unprivileged runs f on a thread without CAP_NET_ADMIN, which ends with it.
func unprivileged(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&hdr, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
			err = unix.Capset(&hdr, &data[0])
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
