package agent_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// A second agent on a host does not start beside the first: it would remove the
// interfaces of the first one's tasks, which it does not know, and its end would take
// the socket away.
func TestOneAgentOnAHost(t *testing.T) {
	for name, other := range map[string]func(*agent.Config, string){
		"of the same settings":   func(*agent.Config, string) {},
		"with another directory": func(c *agent.Config, dir string) { c.StateDir = filepath.Join(dir, "other") },
		"with another directory and plugin socket": func(c *agent.Config, dir string) {
			c.StateDir, c.Socket = filepath.Join(dir, "other"), filepath.Join(dir, "other.sock")
		},
		"with another plugin socket": func(c *agent.Config, dir string) { c.Socket = filepath.Join(dir, "other.sock") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend, c.SweepEvery = "nft", 20*time.Millisecond })
			l.must(work.Item{Programs: []work.Program{open("open")}})
			a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
			a.Serve("tcp", "10.0.0.1:80")
			conn := b.hold("tcp", "10.0.0.1:80")
			cfg := l.cfg
			other(&cfg, t.TempDir())
			was := agent.ForOther(0)
			_, err := agent.New(cfg, make(inbox), l)
			agent.ForOther(was)
			if !errors.Is(err, agent.ErrRunning) || !strings.Contains(err.Error(), "stop it first") {
				t.Fatalf("a second agent: %v", err)
			}
			if out, exit := a.plugin("STATUS", a.config("1.1.0", "taskwall")); exit != 0 {
				t.Errorf("STATUS of the first: %s", out)
			}
			b.reaches("tcp", "10.0.0.1:80")
			if err := netlab.Echo(conn, netlab.Wait); err != nil {
				t.Errorf("a connection broke: %v", err)
			}
		})
	}
}

// An agent that starts while the one before it is about to end waits for that,
// and goes on from where it was.
func TestAgentWaitsForTheOneBeforeIt(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{open("open")}})
	a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
	a.Serve("tcp", "10.0.0.1:80")
	conn := b.hold("tcp", "10.0.0.1:80")
	defer agent.ForOther(agent.ForOther(time.Minute)) // no load is so great
	says := &onWords{words: "waiting for the end of another agent", do: l.stop}
	l.cfg.Logger = slog.New(slog.NewTextHandler(says, nil))
	l.start()
	if !says.said.Load() {
		t.Error("it did not wait")
	}
	awaitSynced(t, l, a)
	b.reaches("tcp", "10.0.0.1:80")
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("a connection broke: %v", err)
	}
	l.snapshot()
	late := l.run("late", "10.0.0.3", "open")
	late.reaches("tcp", "10.0.0.1:80")
}

// onWords is a log that does something when it is told the words.
type onWords struct {
	words string
	do    func()
	said  atomic.Bool
}

func (o *onWords) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(o.words)) && !o.said.Swap(true) {
		go o.do()
	}
	return len(b), nil
}
