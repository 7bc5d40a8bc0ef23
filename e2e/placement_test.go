package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/memnet"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler/placement"
)

// placed is a cluster in memory whose hosts get agents, and a log that hears of
// its frameworks.
type placed struct {
	t   *testing.T
	net *memnet.Network
	c   *sim.Cluster

	mu     sync.Mutex
	log    *events.Cluster
	behind bool // the log hears nothing for now
}

func newPlaced(t *testing.T, change func(*sim.Config)) *placed {
	t.Helper()
	p := &placed{t: t, net: memnet.New(1 << 16), log: events.NewCluster()}
	cfg := sim.Config{Network: p.net, Seed: 3, Masters: 2, NoMarathon: true, TaskKilling: true, Heartbeat: time.Second, PingTimeout: 5 * time.Second,
		Hosts: []sim.Host{{Name: "h1"}, {Name: "h2"}, {Name: "h3"}}}
	if change != nil {
		change(&cfg)
	}
	var err error
	if p.c, err = sim.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	source, err := mesos.New(mesos.Config{Masters: p.c.MasterURLs(), Dial: p.net.DialContext, RetryMax: time.Second}, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(source.Run)
	t.Cleanup(func() {
		stop()
		if err := p.c.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// run runs until it is told to stop.
func run(what func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = what(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (p *placed) Append(_ context.Context, evs ...events.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range evs {
		p.log.Apply(evs[i])
	}
	return nil
}

func (p *placed) known() (all []events.Framework) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.behind {
		for _, f := range p.log.Frameworks {
			all = append(all, f)
		}
	}
	return all
}

// place runs a controller's placement of a command.
func (p *placed) place(command string) (pl *placement.Placement, stop func()) {
	p.t.Helper()
	pl, err := placement.New(placement.Config{Masters: p.c.MasterURLs(), Dial: p.net.DialContext, RetryMax: time.Second,
		Task: placement.Task{Command: command}, Known: p.known})
	if err != nil {
		p.t.Fatal(err)
	}
	return pl, run(pl.Run)
}

// running are the hosts whose agents run, each as often as it has one.
func (p *placed) running() (hosts []string) {
	for _, task := range p.c.Tasks() {
		if task.Name == "taskwall-agent" && task.State == "TASK_RUNNING" {
			hosts = append(hosts, task.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// ids are the tasks of all agents.
func (p *placed) ids() (ids []string) {
	for _, task := range p.c.Tasks() {
		ids = append(ids, task.ID)
	}
	slices.Sort(ids)
	return ids
}

// until waits for something, for an hour of the cluster's time at most.
func (p *placed) until(what string, done func() bool) {
	p.t.Helper()
	for limit := time.Now().Add(time.Hour); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			p.t.Fatalf("%s: running on %v, tasks %v", what, p.running(), p.ids())
		}
	}
}

func (p *placed) on(hosts string) func() bool {
	return func() bool { return strings.Join(p.running(), " ") == hosts }
}

// stays watches a while.
func (p *placed) stays(what string, d time.Duration, holds func() bool) {
	p.t.Helper()
	for limit := time.Now().Add(d); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if !holds() {
			p.t.Fatalf("%s: running on %v, tasks %v", what, p.running(), p.ids())
		}
	}
}

// TestAgentsArePlaced on every host, once, whatever happens to controllers,
// masters, hosts and the agents themselves.
func TestAgentsArePlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaced(t, nil)
		pl, stop := p.place("taskwall agent")
		p.until("an agent on each host", p.on("h1 h2 h3"))
		p.stays("one on each", 10*time.Minute, p.on("h1 h2 h3"))
		first := p.ids()

		// A new host.
		if _, err := p.c.AddHost(sim.Host{Name: "h4"}); err != nil {
			t.Fatal(err)
		}
		p.until("an agent on the new host", p.on("h1 h2 h3 h4"))

		// An agent that ends is started again.
		for _, task := range p.c.Tasks() {
			if task.Host == "h2" {
				if err := p.c.Host("h2").Agent.Exit(task.ID, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.until("the one that failed again", p.on("h1 h3 h4"))
		p.until("the one that failed again", p.on("h1 h2 h3 h4"))

		// Another controller takes over: what runs stays, and nothing is doubled.
		stop()
		before := p.ids()
		pl2, stop2 := p.place("taskwall agent")
		p.until("the second controller", func() bool { return pl2.Status().Running == 4 })
		p.stays("what ran", 10*time.Minute, func() bool { return slices.Equal(p.ids(), before) })
		if a, b := pl.Status().Framework, pl2.Status().Framework; a != b || a == "" {
			t.Errorf("framework %q became %q", a, b)
		}

		// Another master leads: the same.
		if err := p.c.RestartMaster(); err != nil {
			t.Fatal(err)
		}
		p.until("the new master", func() bool { return pl2.Status().Leader != "" && pl2.Status().Running == 4 })
		p.stays("what ran", 10*time.Minute, func() bool { return slices.Equal(p.ids(), before) })

		// A host that is away keeps its agent, and has it when it is back.
		p.c.Unreachable("h3")
		p.stays("what ran", time.Minute, func() bool { return slices.Equal(p.ids(), before) })
		p.c.Reachable("h3")
		p.until("the host that was away", func() bool { return pl2.Status().Running == 4 })
		p.stays("what ran", 20*time.Minute, func() bool { return slices.Equal(p.ids(), before) })
		stop2()
		if slices.Equal(first, before) {
			t.Error("the failed task has its old id again")
		}
	})
}

// TestAgentsAreReplaced one after the other, when their command changes; and not
// at all further when the new one does not run.
func TestAgentsAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaced(t, nil)
		_, stop := p.place("old")
		p.until("an agent on each host", p.on("h1 h2 h3"))
		stop()
		old := p.ids()
		pl, stop := p.place("new")
		p.until("the first is replaced", func() bool { return len(p.running()) < 3 })
		p.until("all are new", func() bool {
			if n := len(p.running()); n < 2 {
				t.Fatalf("only %d agents run", n)
			}
			ids := p.ids()
			return len(p.running()) == 3 && !slices.ContainsFunc(old, func(id string) bool { return slices.Contains(ids, id) })
		})
		if s := pl.Status(); s.Outdated != 0 || s.Running != 3 {
			t.Errorf("%+v", s)
		}
		stop()

		pl, stop = p.place("broken")
		defer stop()
		ended := map[string]bool{}
		p.stays("two of the working agents", time.Hour, func() bool {
			working := 0
			for _, task := range p.c.Tasks() {
				if strings.HasPrefix(task.ID, "taskwall-agent."+spec(t, "new")+".") {
					working++
				} else if task.State == "TASK_RUNNING" && !ended[task.ID] {
					ended[task.ID] = true
					if err := p.c.Host(task.Host).Agent.Exit(task.ID, 1); err != nil {
						t.Error(err)
					}
				}
			}
			return working >= 2
		})
		if len(ended) < 5 || len(ended) > 30 {
			t.Errorf("the broken one was started %d times in an hour", len(ended))
		}
		if s := pl.Status(); s.Outdated != 2 || len(s.Trouble) != 1 || !strings.Contains(s.Trouble[0], "TASK_FAILED") {
			t.Errorf("%+v", s)
		}
	})
}

// spec is what the ids of a command's tasks hold.
func spec(t *testing.T, command string) string {
	t.Helper()
	return placement.Spec(placement.Task{Command: command})
}

// TestNothingIsPlacedUnseen: as long as the log does not know the framework, a
// controller that took over could not find it.
func TestNothingIsPlacedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaced(t, nil)
		p.behind = true
		pl, stop := p.place("taskwall agent")
		defer func() { stop() }()
		p.until("registered", func() bool { return pl.Status().Framework != "" })
		p.stays("nothing", time.Minute, p.on(""))
		p.mu.Lock()
		p.behind = false
		p.mu.Unlock()
		p.until("an agent on each host", p.on("h1 h2 h3"))

		// Torn down, it registers anew, and starts all again.
		was := pl.Status().Framework
		if err := p.c.Master().Teardown(was); err != nil {
			t.Fatal(err)
		}
		p.until("the end", p.on(""))
		p.until("an agent on each host", p.on("h1 h2 h3"))
		if now := pl.Status().Framework; now == was {
			t.Errorf("still %s", now)
		}
	})
}

// TestHostsWithTooLittleAreTold by name, and get their agent when there is room.
func TestHostsWithTooLittleAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaced(t, func(cfg *sim.Config) {
			cfg.Hosts[1].Resources.Cpus, cfg.Hosts[1].Resources.Mem = 0.05, 4096
		})
		pl, stop := p.place("taskwall agent")
		defer stop()
		p.until("an agent on the others", p.on("h1 h3"))
		p.stays("on the others", 10*time.Minute, p.on("h1 h3"))
		want := []string{"host h2 has no agent: its task needs cpus 0.5, and 0.05 are free"}
		if got := pl.Status().Trouble; !slices.Equal(got, want) {
			t.Errorf("%s", fmt.Sprint(got))
		}
	})
}

// TestAgentsThatMesosRemovedAreNoHosts: a Mesos agent that lost its work directory
// has another id, one that was shut down has gone. Neither holds up a replacement.
func TestAgentsThatMesosRemovedAreNoHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaced(t, func(cfg *sim.Config) { cfg.Hosts = append(cfg.Hosts, sim.Host{Name: "h4"}) })
		_, stop := p.place("old")
		p.until("an agent on each host", p.on("h1 h2 h3 h4"))
		stop()
		pl, stop := p.place("new")
		defer stop()
		p.until("the replacement has begun", func() bool { return pl.Status().Counters.Replaced > 0 })
		p.c.Host("h2").Agent.Wipe()
		if err := p.c.Host("h2").Agent.Start(); err != nil {
			t.Fatal(err)
		}
		p.c.Host("h3").Agent.Unregister()
		p.until("all are new", func() bool {
			s := pl.Status()
			return s.Outdated == 0 && s.Running == 3 && p.on("h1 h2 h4")()
		})
		if s := pl.Status(); s.Hosts != 3 || len(s.Trouble) > 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestARebootedHostGetsItsAgentSoon: a master says nothing of a task that did not
// come back with its agent, whether it was unreachable, or another master knew it.
func TestARebootedHostGetsItsAgentSoon(t *testing.T) {
	for name, meanwhile := range map[string]func(*placed, *placement.Placement){
		"long": func(p *placed, pl *placement.Placement) {
			p.until("its task is unreachable", func() bool { return pl.Status().Hosts == 2 })
		},
		"while another master is elected": func(p *placed, pl *placement.Placement) {
			was := pl.Status().Leader
			if err := p.c.RestartMaster(); err != nil {
				p.t.Fatal(err)
			}
			p.until("the new master", func() bool { now := pl.Status().Leader; return now != "" && now != was })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlaced(t, nil)
				pl, stop := p.place("taskwall agent")
				defer stop()
				p.until("an agent on each host", p.on("h1 h2 h3"))
				p.c.Host("h3").Agent.Reboot()
				meanwhile(p, pl)
				if err := p.c.Host("h3").Agent.Start(); err != nil {
					t.Fatal(err)
				}
				back := time.Now()
				p.until("an agent on the rebooted host", p.on("h1 h2 h3"))
				if took := time.Since(back); took > 30*time.Second {
					t.Errorf("it came after %s", took)
				}
			})
		})
	}
}
