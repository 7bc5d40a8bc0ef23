package mesosagent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/taskwall/taskwall/e2e/netns"
)

// process is a container's process: forked at once, it waits for a line before
// it becomes the task's command, as a Mesos container waits until it is
// isolated.
type process struct {
	cmd     *exec.Cmd
	release io.WriteCloser
	exited  chan struct{} // closed when it is gone
	state   *os.ProcessState
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// fork starts the process: in a new network namespace when fresh, else in the
// one that ns names. An empty command only waits to be killed: an executor
// without work of its own.
func fork(ns string, fresh bool, command string, args, env []string, dir string) (*process, error) {
	script := `read _; exec "$@"`
	argv := []string{"-c", script, "mesos-container"}
	switch {
	case command == "" && len(args) == 0:
		argv = append(argv, "sleep", "infinity")
	case len(args) > 0:
		argv = append(argv, args...)
	default:
		argv = append(argv, "sh", "-c", command)
	}
	cmd := exec.Command("/bin/sh", argv...)
	cmd.Env = env
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	cmd.Dir = dir
	for _, f := range []struct {
		name string
		to   *io.Writer
	}{{"stdout", &cmd.Stdout}, {"stderr", &cmd.Stderr}} {
		file, err := os.Create(filepath.Join(dir, f.name))
		if err != nil {
			return nil, fmt.Errorf("sandbox: %w", err)
		}
		defer file.Close()
		*f.to = file
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if fresh {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	release, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := netns.Start(ns, cmd); err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	p := &process{cmd: cmd, release: release, exited: make(chan struct{})}
	go func() { // ends with the process, which the container owns and kills
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		close(p.exited)
	}()
	return p, nil
}

// run lets the process become its command.
func (p *process) run() {
	_, _ = io.WriteString(p.release, "\n")
	_ = p.release.Close()
}

// stop ends the process group: kindly first, by force after the grace period.
func (p *process) stop(grace time.Duration) {
	select {
	case <-p.exited:
	default:
		_ = syscall.Kill(-p.pid(), syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(grace):
		}
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // also what it left behind
	<-p.exited
}

// ended reports whether the process is gone, or never was.
func (p *process) ended() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// ending is how the process ended: its code, and Mesos' words for it.
func (p *process) ending() (code int, words string) {
	ws, ok := p.state.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal()), "Command terminated with signal " + signalName(ws.Signal())
	}
	return p.state.ExitCode(), fmt.Sprintf("Command exited with status %d", p.state.ExitCode())
}

func signalName(s syscall.Signal) string {
	name := s.String() // as strsignal, but in lower case
	if name == "" {
		return fmt.Sprint(int(s))
	}
	return string(name[0]-'a'+'A') + name[1:]
}

// bind makes the stable handle of a container's namespace: a bind mount at
// <root>/<id>/ns, with loopback up inside.
func bind(pid int, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("network state: %w", err)
	}
	handle := filepath.Join(dir, "ns")
	f, err := os.Create(handle)
	if err != nil {
		return fmt.Errorf("network handle: %w", err)
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), handle, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount network handle: %w", err)
	}
	return loopbackUp(handle)
}

func loopbackUp(ns string) error {
	return netns.Do(ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback: %w", err)
		}
		return netlink.LinkSetUp(lo)
	})
}

// dropState removes a container's handle and state directory.
func dropState(dir string) error {
	if err := unix.Unmount(filepath.Join(dir, "ns"), unix.MNT_DETACH); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network handle: %w", err)
	}
	return os.RemoveAll(dir)
}

// unmountAll drops the handles that failed DELs left.
func (a *Agent) unmountAll() {
	handles, _ := filepath.Glob(filepath.Join(a.cniRoot(), "*", "ns"))
	for _, h := range handles {
		_ = unix.Unmount(h, unix.MNT_DETACH)
	}
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}
