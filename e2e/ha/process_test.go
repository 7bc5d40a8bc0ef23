package ha

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one of our programs; it can be started again after it was killed.
type process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string
	// mounts: what it mounts only it sees, and is gone with it.
	mounts bool
	log    string // the file with what it prints

	cmd  *exec.Cmd
	in   io.WriteCloser // a process that reads its standard input ends with it
	done chan error
}

func newProcess(t testing.TB, name, path string, args ...string) *process {
	p := &process{t: t, name: name, path: path, args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said last:\n%s", name, p.tail(25))
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // the process has it
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.mounts {
		p.cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, done := p.cmd, make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	p.done = done
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("sending %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process as kill -9 does, if it runs.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	p.in.Close() //nolint:errcheck // nobody reads it any more
	p.cmd = nil
}

// stop asks the process to end, and checks that it does so well.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("%s ended with %v", p.name, err)
		}
		p.cmd = nil
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s does not end", p.name)
	}
}

func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

func (p *process) tail(n int) string {
	lines := strings.Split(strings.TrimSpace(p.said()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// run runs a command to its end and returns what it printed.
func run(path string, args ...string) (string, error) {
	out, err := exec.Command(path, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return string(out), err
}
