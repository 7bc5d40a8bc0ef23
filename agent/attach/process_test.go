package attach_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/taskwall/taskwall/agent/attach"
)

// A process is known by its id and its start, and refused when it has no
// namespace of its own.
func TestProcess(t *testing.T) {
	h := open(t)
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p, err := attach.OpenProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inside := func(argv ...string) {
		t.Helper()
		argv = append([]string{"--net=/proc/" + strconv.Itoa(p.PID) + "/ns/net", "ip", "link"}, argv...)
		if out, err := exec.Command("nsenter", argv...).CombinedOutput(); err != nil {
			t.Fatalf("nsenter %v: %v: %s", argv, err, out)
		}
	}
	inside("set", "lo", "up") // as Docker does on its network "none"
	if err := h.Isolated(p); err != nil {
		t.Error(err)
	}
	inside("add", "way0", "type", "veth", "peer", "name", "way1")
	if err := h.Isolated(p); err != nil {
		t.Errorf("with an interface that is down: %v", err)
	}
	inside("set", "way0", "up")
	if err := h.Isolated(p); !errors.Is(err, attach.ErrShared) {
		t.Errorf("with an interface that is up: %v", err)
	}
	if !attach.Alive(p.PID, p.Started) || attach.Alive(p.PID, p.Started+1) {
		t.Error("a process is not told from a later one of the same id")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if attach.Alive(p.PID, p.Started) {
		t.Error("a process that ended is alive")
	}
	if _, err := attach.OpenProcess(p.PID); !errors.Is(err, attach.ErrNamespace) {
		t.Errorf("a process that ended was opened: %v", err)
	}
	own, err := attach.OpenProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := h.Isolated(own); !errors.Is(err, attach.ErrShared) {
		t.Errorf("the host's own namespace: %v", err)
	}
}

// A process holds the other end of a pair when its namespace has it, and not
// when it only has an interface of the same name and address.
func TestHolds(t *testing.T) {
	h := open(t)
	sleep := func() *attach.Process {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		p, err := attach.OpenProcess(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	its, other := sleep(), sleep()
	s := attach.Spec{Veth: attach.Name("fw/a", "taskwall"), Namespace: its.Path(), Iface: "eth0", Address: netip.MustParseAddr("10.0.0.1")}
	lookalike := s
	lookalike.Veth, lookalike.Namespace = attach.Name("fw/b", "taskwall"), other.Path()
	for _, s := range []attach.Spec{s, lookalike} {
		if err := enterAttach(h, s); err != nil {
			t.Fatal(err)
		}
		defer h.Detach(s.Veth)
	}
	if err := h.Holds(s, its); err != nil {
		t.Error(err)
	}
	if err := h.Holds(s, other); !errors.Is(err, attach.ErrDiffers) {
		t.Errorf("another process's interface of the same name and address: %v", err)
	}
	s.Address = netip.MustParseAddr("10.0.0.2")
	if err := h.Holds(s, its); !errors.Is(err, attach.ErrDiffers) {
		t.Errorf("another address: %v", err)
	}
	if err := h.Detach(s.Veth); err != nil {
		t.Fatal(err)
	}
	if err := h.Holds(s, its); !errors.Is(err, attach.ErrDiffers) {
		t.Errorf("an interface that is gone: %v", err)
	}
}
