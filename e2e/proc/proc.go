// Package proc runs programs on the hosts of a test and ends them: by their
// own handles, never by name.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
)

// Group are the programs of one test. Its zero value is empty.
type Group struct {
	// Log, if set, gets what they print, a line each with the program's name.
	Log io.Writer

	mu    sync.Mutex
	procs []*Process
	ended strings.Builder // what those printed that were ended
}

// Process is a program that was started.
type Process struct {
	Name string
	cmd  *netns.Command
	out  *output
	done chan struct{}
}

// output is what a program prints, written and read at the same time.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Start runs a program on a host until Stop, Kill or the end of ctx.
func (g *Group) Start(ctx context.Context, host *netns.Host, name, path string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: host.Command(ctx, path, args...), out: &output{}, done: make(chan struct{})}
	var sink io.Writer = p.out
	if g.Log != nil {
		sink = io.MultiWriter(p.out, &prefixed{name: name, w: g.Log})
	}
	p.cmd.Stdout, p.cmd.Stderr = sink, sink
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // an early end shows in what then does not work, with the output
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.procs = append(g.procs, p)
	return p, nil
}

// Kill ends a program as kill -9 does.
func (g *Group) Kill(name string) error {
	p, err := g.take(name)
	if err != nil {
		return err
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", name, err)
	}
	<-p.done
	g.keep(p)
	return nil
}

// StopAll ends all programs, the last first.
func (g *Group) StopAll() error {
	g.mu.Lock()
	procs := g.procs
	g.procs = nil
	g.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(procs) {
		errs = append(errs, p.stop())
		g.keep(p)
	}
	return errors.Join(errs...)
}

func (g *Group) take(name string) (*Process, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := slices.IndexFunc(g.procs, func(p *Process) bool { return p.Name == name })
	if n < 0 {
		return nil, fmt.Errorf("%s does not run", name)
	}
	p := g.procs[n]
	g.procs = slices.Delete(g.procs, n, n+1)
	return p, nil
}

func (g *Group) keep(p *Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended.WriteString(p.out.String())
}

// Ended is all that the programs printed that have been ended.
func (g *Group) Ended() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended.String()
}

// LastWords are the last lines of each program, for an error message.
func (g *Group) LastWords() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, p := range g.procs {
		lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
		fmt.Fprintf(&b, "\n%s said last:\n  %s", p.Name, strings.Join(lines[max(0, len(lines)-8):], "\n  "))
	}
	return b.String()
}

func (p *Process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within 10 s of being asked to, and was killed", p.Name)
	}
}

// Output runs a program on a host to its end and returns what it printed on
// standard output.
func Output(ctx context.Context, host *netns.Host, path string, args ...string) (string, error) {
	cmd := host.Command(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s on %s: %w: %s", filepath.Base(path), strings.Join(args, " "), host.Name,
			err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// prefixed writes lines with a name before each.
type prefixed struct {
	name string
	w    io.Writer
	rest []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.w, "%-12s %s\n", p.name, p.rest[:i]); err != nil {
			return len(b), err
		}
		p.rest = p.rest[i+1:]
	}
}
