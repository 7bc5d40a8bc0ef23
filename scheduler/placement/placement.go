package placement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/backoff"
	"github.com/taskwall/taskwall/events/connect"
)

// Placement keeps agents on the hosts while it runs.
type Placement struct {
	cfg    Config
	client *connect.Client

	removed map[string]bool // frameworks that the master does not take any more

	mu        sync.Mutex // guards what follows; Run alone changes it
	framework string     // id; "" not yet known
	fleet     *fleet
	leader    string // connected to; "" none
	since     time.Time
	failed    string
}

// New checks the settings.
func New(cfg Config) (*Placement, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	client, err := connect.NewClient(connect.Config{
		Servers: cfg.Masters, TLS: cfg.TLS, Patience: cfg.CallTimeout, Dial: cfg.Dial,
		Credentials: connect.Credentials{User: cfg.User, Password: cfg.Password, Token: cfg.Token},
	})
	if err != nil {
		return nil, err
	}
	return &Placement{cfg: cfg, client: client,
		removed: map[string]bool{}, fleet: newFleet(&cfg, nuid.Next), since: cfg.Now()}, nil
}

// Run places agents until ctx ends, and returns its cause. The agents stay: a
// framework of this kind is waited for for weeks.
func (p *Placement) Run(ctx context.Context) error {
	defer p.client.Close()
	wait := backoff.Backoff{Min: p.cfg.RetryMin, Max: p.cfg.RetryMax}
	for {
		begun := p.cfg.Now()
		err := p.session(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if p.cfg.Now().Sub(begun) >= time.Minute {
			wait.Reset()
		}
		if p.disconnected(err) {
			p.cfg.Logger.Warn("placing agents: not connected to the leading master; trying until one answers", "error", err)
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

func (p *Placement) connected(leader, framework string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.framework, p.leader, p.since, p.failed = framework, leader, p.cfg.Now(), ""
}

func (p *Placement) rename(framework string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.framework = framework
}

// disconnected says whether the cause is new.
func (p *Placement) disconnected(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader != "" {
		p.leader, p.since = "", p.cfg.Now()
	}
	p.fleet.count.Failures++
	was := p.failed
	p.failed = err.Error()
	return was != p.failed
}

// id is the framework's as the log knows it, the one that registered last; ""
// when there is none that the master may still take.
func (p *Placement) id() string {
	var all []events.Framework
	for _, f := range p.cfg.Known() {
		if f.Name == p.cfg.Name && (p.cfg.User == "" || f.Principal == p.cfg.User) && !p.removed[f.ID] {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b events.Framework) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	}).ID
}

// Counters only grow.
type Counters struct {
	Launched uint64 // tasks
	Ended    uint64 // tasks, also those that were killed
	Replaced uint64 // tasks that were killed for a new one
	Failures uint64 // sessions that could not be begun, or ended
}

// Status is how it stands.
type Status struct {
	Leader    string // connected to; "" none
	Since     time.Time
	Error     string
	Framework string // id
	Hosts     int    // that were offered, or have a task
	Running   int    // of them, those whose task runs
	Outdated  int    // those whose task is to be replaced
	Trouble   []string
	Counters  Counters
}

// Status may be called at any time.
func (p *Placement) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Leader: p.leader, Since: p.since, Error: p.failed, Framework: p.framework, Counters: p.fleet.count}
	for _, id := range slices.Sorted(maps.Keys(p.fleet.hosts)) {
		h := p.fleet.hosts[id]
		if h.state == mesos.TASK_UNREACHABLE || h.task == "" && h.name == "" {
			continue
		}
		s.Hosts++
		if h.task != "" && h.state == mesos.TASK_RUNNING {
			s.Running++
		}
		if h.outdated(p.fleet.spec) {
			s.Outdated++
		}
		if h.task == "" && h.says != "" {
			s.Trouble = append(s.Trouble, fmt.Sprintf("host %s has no agent: %s", cmp.Or(h.name, id), h.says))
		}
	}
	return s
}

var errRemoved = errors.New("the master has removed the framework; it registers anew")
