package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside is set within the namespaces: ready where they are prepared, as the
// workers find them that a fuzzing process starts.
const (
	inside = "TASKWALL_NETLAB"
	ready  = "ready"
)

// Main runs the package's tests inside new network and mount namespaces. Call
// it from TestMain.
func Main(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(reexec())
	}
	if os.Getenv(inside) != ready {
		if err := errors.Join(prepare(), os.Setenv(inside, ready)); err != nil {
			fmt.Fprintln(os.Stderr, "netlab:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func reexec() int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "netlab: these tests make network namespaces and need root")
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The child gets the terminal's interrupt itself; go test's own time limit
	// sends SIGQUIT to us, and its stack dump is the child's to write.
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGQUIT, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab: starting the tests in namespaces:", err)
		return 1
	}
	go func() {
		for s := range sigs {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Fprintln(os.Stderr, "netlab:", err)
	return 1
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting a private /run: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	// A host has an address of its own: replies from it need a source.
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(Host), Mask: net.CIDRMask(32, 32)}}); err != nil {
		return fmt.Errorf("giving the host its address: %w", err)
	}
	return nil
}

// Host is the address of the host under test.
const Host = "192.0.2.1"
