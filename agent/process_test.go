package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

// The agent as a process of its own, so that a test can kill it: items come in
// on stdin, reports go out on stdout, a JSON value a line.

const agentProcess = "TASKWALL_TEST_AGENT"

// inProcess is for newLab: the agent is a process of its own.
func inProcess(c *agent.Config) { c.Logger = nil }

type stdio struct {
	inbox
	mu  sync.Mutex
	out *json.Encoder
}

func (s *stdio) Report(_ context.Context, r work.Report) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Encode(r)
}

func (s *stdio) Alive(work.Alive) error { return nil }

func runAgentProcess(config string) int {
	var cfg agent.Config
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	agent.AtSteps(func(where string) { // as TestKilledAtEachStep says
		b, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Socket), dieAt))
		switch {
		case err != nil:
		case string(b) == where:
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it does not return
			select {}
		case string(b) == "interface made" && where == "saving":
			select {} // it is made before its record is on disk
		}
	})
	s := &stdio{inbox: make(inbox), out: json.NewEncoder(os.Stdout)}
	go func() { // until the process ends: a read of stdin cannot be called off
		for in := json.NewDecoder(os.Stdin); ; {
			var it work.Item
			if in.Decode(&it) != nil {
				return // the test closed the pipe, as if NATS were gone
			}
			s.inbox <- &it
		}
	}()
	a, err := agent.New(cfg, s, s)
	if err == nil {
		err = a.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (l *lab) startProcess() {
	l.t.Helper()
	cfg, err := json.Marshal(l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	if l.at != nil {
		cmd = exec.Command("nsenter", "--net="+l.at.Path, exe)
	}
	cmd.Env = append(os.Environ(), agentProcess+"="+string(cfg))
	cmd.Stderr = logWriter{l.t}
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.pid = cmd.Process.Pid
	done := make(chan struct{})
	items := l.items
	go func() {
		enc := json.NewEncoder(in)
		for {
			select {
			case it := <-items:
				if enc.Encode(it) != nil {
					return
				}
			case <-done:
				return
			}
		}
	}()
	var reader sync.WaitGroup
	reader.Go(func() {
		r := bufio.NewReaderSize(out, 1<<20)
		for {
			line, err := r.ReadBytes('\n')
			var rep work.Report
			if err == nil && json.Unmarshal(line, &rep) == nil {
				l.Report(context.Background(), rep)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					l.t.Log(err)
				}
				return
			}
		}
	})
	var once sync.Once
	end := func(sig syscall.Signal) {
		once.Do(func() {
			close(done)
			cmd.Process.Signal(sig)
			reader.Wait()
			if err := cmd.Wait(); err != nil && sig == syscall.SIGTERM {
				l.t.Errorf("the agent ended with %v", err)
			}
		})
	}
	l.stop = func() { end(syscall.SIGTERM) }
	l.kill = func() { end(syscall.SIGKILL) }
	l.t.Cleanup(l.stop)
}
