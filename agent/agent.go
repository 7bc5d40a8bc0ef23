package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/containers"
	"github.com/taskwall/taskwall/agent/docker"
	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/agent/routes"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sync/errgroup"
)

// Agent does everything that happens on one host. Its process runs in the
// host's network namespace, as root.
type Agent struct {
	cfg    Config
	hold   hold // see alone
	log    *slog.Logger
	inbox  Inbox
	report *reporter

	fw     *firewall.Firewall
	host   *attach.Host
	routes *routes.Table
	bgp    *bgp.Speaker
	flows  tracking
	mesos  *containers.Client
	docker *docker.Client

	// applyMu is held by whoever changes rules, sets or routes: the applier of
	// items, and the check.
	applyMu sync.Mutex
	state   *work.State               // the wanted picture
	synced  bool                      // the kernel was compared with a picture since the start
	joining bool                      // a snapshot was asked for and has not come
	parked  map[netip.Prefix]struct{} // static routes that stay for now; see later
	journal *journal
	users   users            // of sets
	drafts  *firewall.Drafts // of the picture's programs, for the first comparison
	cuts    cuts
	again   secondLook
	// digestDue is when the digest of a large picture may be computed; zero
	// when it is not owed.
	digestDue time.Time
	lastTook  time.Duration

	// mu guards what follows. It is never held over anything slower than a few
	// netlink calls.
	mu          sync.Mutex
	endpoints   map[string]work.Endpoint // applied: their programs and sets are in the kernel
	changed     chan struct{}            // closed and replaced when endpoints change
	attachments map[string]*attachment   // by endpoint
	busy        map[string]chan struct{} // endpoints that an attach or detach works on
	owed        map[string]bool          // those of them that ended meanwhile, with nothing attached
	strays      []string                 // interfaces that had no attachment at the last sweep
	inForce     bool                     // the rules are in the kernel: this process has seen to it
	notInForce  error                    // why not, as last tried

	trouble  trouble
	full     full // only the checks use it
	cutCount atomic.Uint64
	applied  atomic.Uint64 // the revision that the kernel holds
	checked  atomic.Int64  // when a check last ended, in nanoseconds since 1970

	leaving  departures
	checkNow chan struct{}
}

// New prepares an agent. It reads the state directory and connects to the
// kernel, and changes nothing there except to let the host forward packets. It
// waits some seconds for another agent of the host to end, and then fails with
// ErrRunning.
func New(cfg Config, inbox Inbox, outbox Outbox) (*Agent, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("agent configuration: %w", err)
	}
	a := &Agent{
		cfg: cfg, log: cfg.Logger, inbox: inbox,
		state:     work.NewState(),
		endpoints: map[string]work.Endpoint{}, changed: make(chan struct{}),
		attachments: map[string]*attachment{}, busy: map[string]chan struct{}{}, owed: map[string]bool{},
		leaving:  departures{wake: make(chan struct{}, 1)},
		cuts:     cuts{wake: make(chan struct{}, 1)},
		checkNow: make(chan struct{}, 1), users: users{}, parked: map[netip.Prefix]struct{}{},
	}
	a.docker = docker.New(cfg.DockerSocket)
	a.report = newReporter(cfg.Host, outbox, a.log)
	ok := false
	defer func() {
		if !ok {
			a.close()
		}
	}()
	if a.hold, err = alone(cfg.StateDir, a.log); err != nil {
		return nil, err
	}
	if a.mesos, err = containers.New(cfg.mesos()); err != nil {
		return nil, err
	}
	if a.fw, err = firewall.Open(context.Background(), firewall.Config{
		Backend: firewall.Backend(cfg.Backend), HostPorts: cfg.Failsafe, Logger: a.log,
	}); err != nil {
		return nil, err
	}
	if a.host, err = attach.Open(); err != nil {
		return nil, err
	}
	if a.routes, err = routes.Open(); err != nil {
		return nil, err
	}
	if a.bgp, err = bgp.New(bgp.Config{Secrets: cfg.BGPSecrets, Reports: speech{a.report}, Changed: a.hurry, Logger: a.log}); err != nil {
		return nil, err
	}
	flows, err := conntrack.Dial()
	if err != nil {
		return nil, err
	}
	a.flows = flows
	a.journal, a.state = openJournal(cfg.StateDir, a.log)
	for _, p := range a.state.Programs {
		a.users.put(&p)
	}
	a.attachments = loadAttachments(cfg.StateDir, a.log)
	ok = true
	return a, nil
}

func (a *Agent) close() {
	a.docker.Close()
	if a.mesos != nil {
		a.mesos.Close()
	}
	if a.fw != nil {
		a.fw.Close()
	}
	if a.host != nil {
		a.host.Close()
	}
	if a.routes != nil {
		a.routes.Close()
	}
	if a.bgp != nil {
		a.bgp.Close()
	}
	if a.flows != nil {
		a.flows.Close()
	}
	if a.journal != nil {
		a.journal.close()
	}
	a.hold.close()
}

// Run works until the context ends; the host's network stays as it is then.
func (a *Agent) Run(ctx context.Context) error {
	defer a.close()
	listener, err := cni.Listen(a.cfg.Socket)
	if err != nil {
		return err
	}
	if a.state.Rev > 0 {
		a.resume(ctx)
	}
	a.join("start")
	a.resumeLeaving(ctx)
	ended := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() { a.cutting(ended) })
	defer cutter.Wait() // nothing that was denied stays open for the end
	defer close(ended)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.report.run(ctx) })
	g.Go(func() error { return (&cni.Server{Handler: a, Log: a.log}).Serve(ctx, listener) })
	g.Go(func() error { return a.work(ctx) })
	g.Go(func() error { return a.checks(ctx) })
	g.Go(func() error { return a.live(ctx) })
	g.Go(func() error { return a.sweeps(ctx) })
	g.Go(func() error { return a.leave(ctx) })
	g.Go(func() error { return a.processes(ctx) })
	g.Go(func() error { return a.endOfProcesses(ctx) })
	for what, watch := range map[string]func(context.Context) error{
		"logged packets":        a.listen,
		"rules":                 func(ctx context.Context) error { return a.fw.Watch(ctx, a.hurry) },
		"interfaces and routes": func(ctx context.Context) error { return attach.Watch(ctx, a.noticed) },
		"learned routes":        a.bgp.Run,
	} {
		g.Go(func() error { return a.watched(ctx, what, watch) })
	}
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// work applies items as they come.
func (a *Agent) work(ctx context.Context) error {
	for {
		it, err := a.inbox.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, work.ErrGap) {
			a.rejoin(err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for work: %w", err)
		}
		a.take(ctx, it)
	}
}

// join asks for the host's whole picture.
func (a *Agent) join(reason string) {
	a.joining = true
	a.report.join(events.Join{Host: a.cfg.Host, Address: a.cfg.Address, Version: a.cfg.Version, Reason: reason, Rev: a.state.Rev})
}

func (a *Agent) rejoin(reason string) {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if !a.joining {
		a.log.Warn("asking for the whole picture", "because", reason)
		a.join(reason)
	}
}

// resume brings the kernel to the picture that an earlier run left, before any
// controller is heard from.
func (a *Agent) resume(ctx context.Context) {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	a.log.Info("resuming from disk", "rev", a.state.Rev, "endpoints", len(a.state.Endpoints), "attachments", len(a.attachments))
	a.mu.Lock()
	a.endpoints = cloneEndpoints(a.state.Endpoints)
	a.mu.Unlock()
	for _, e := range a.state.Endpoints {
		a.bgp.Taken(e.Address)
	}
	started := time.Now()
	failed, err := a.first(ctx)
	for _, f := range failed {
		a.log.Error("not applied", "what", f.Key, "error", f.Error)
	}
	if err != nil {
		a.log.Error("the kernel could not be brought to the picture on disk; it will be tried again", "error", err)
		a.hurry()
		return
	}
	a.applied.Store(a.state.Rev)
	a.log.Info("the kernel holds the picture on disk", "rev", a.state.Rev, "took", time.Since(started))
}

// hurry makes the next check come now.
func (a *Agent) hurry() {
	select {
	case a.checkNow <- struct{}{}:
	default:
	}
}
