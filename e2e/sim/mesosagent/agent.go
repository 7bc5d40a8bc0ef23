package mesosagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/clock"
	"github.com/taskwall/taskwall/e2e/sim/ids"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// Config are an agent's flags.
type Config struct {
	Hostname string
	// Host is the address that the agent listens on, Port its port (5051).
	Host string
	Port int
	// NS is the host's namespace; empty: tasks are kept on paper.
	NS string
	// Listen opens the HTTP listener; nil: no HTTP at all.
	Listen func() (net.Listener, error)

	Attributes map[string]string
	Resources  master.Amount

	// CNIConf is --network_cni_config_dir, read again at each launch; CNIPlugins
	// is --network_cni_plugins_dir.
	CNIConf, CNIPlugins string
	// Dir holds the runtime directory (Dir/run) and the sandboxes.
	Dir string

	Quorum *master.Quorum
	Clock  clock.Clock
	IDs    *ids.Source
	Log    *slog.Logger

	RegistrationTimeout time.Duration // of executors, 1 min
	AckRetry            time.Duration // 10 s
	// DialBack makes the agent connect to each command executor, as one with
	// --http_command_executor=false does.
	DialBack bool
	// DomainSockets lets executors reach the agent by a socket, not by its
	// address (--http_executor_domain_sockets).
	DomainSockets bool
	// PaperIP gives a task on paper its address; nil: some address of 9.0.0.0/8.
	PaperIP func(host string, n int) string
	// TaskPath goes before the PATH of tasks (not of plugins).
	TaskPath string

	Users map[string]string // Basic authentication of the HTTP API
}

// Agent is one Mesos agent.
type Agent struct {
	cfg     Config
	pid     string
	started time.Time

	mu          sync.Mutex
	id          string
	up          bool
	partitioned bool
	leader      *master.Master         // registered with
	containers  map[string]*container  // by full id
	tasks       map[[2]string]*taskRun // by framework and task id
	seq         int
	terminated  []mesos.Task // past tasks, for GET_TASKS
	paperIPs    int
	orphans     []*container // of before a Wipe
	rebooting   bool
	frameworks  map[string]mesos.FrameworkInfo
	updates     *updates
	running     sync.WaitGroup // container goroutines, beyond Kill

	life   sync.Mutex         // held by who starts or kills the daemon part
	down   context.CancelFunc // ends it
	daemon sync.WaitGroup
	wake   chan struct{} // closed to look again at leader and partition
	inbox  *mailbox
}

// New makes an agent; Start brings it up.
func New(cfg Config) *Agent {
	cfg.Port = cmp.Or(cfg.Port, 5051)
	cfg.Host = cmp.Or(cfg.Host, "127.0.0.1")
	cfg.RegistrationTimeout = cmp.Or(cfg.RegistrationTimeout, time.Minute)
	cfg.AckRetry = cmp.Or(cfg.AckRetry, 10*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.IDs == nil {
		cfg.IDs = ids.New(2)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Resources.Cpus == 0 {
		cfg.Resources = master.Amount{Cpus: 4, Mem: 2048, Disk: 4096, Ports: []mesos.Value_Range{{Begin: 31000, End: 32000}}}
	}
	a := &Agent{
		cfg:        cfg,
		containers: map[string]*container{},
		tasks:      map[[2]string]*taskRun{},
		frameworks: map[string]mesos.FrameworkInfo{},
	}
	a.pid = fmt.Sprintf("slave(1)@%s", net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)))
	a.updates = newUpdates(a)
	return a
}

// ID is the agent's Mesos id, "" before it registered.
func (a *Agent) ID() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.id
}

// Hostname is the agent's host's name.
func (a *Agent) Hostname() string { return a.cfg.Hostname }

// paper reports whether tasks have no processes.
func (a *Agent) paper() bool { return a.cfg.NS == "" }

// cniRoot is the isolator's state directory.
func (a *Agent) cniRoot() string {
	return filepath.Join(a.cfg.Dir, "run", "isolators", "network", "cni")
}

// Start brings the agent up: recovery, HTTP, registration.
func (a *Agent) Start() error {
	a.life.Lock()
	defer a.life.Unlock()
	a.mu.Lock()
	if a.up {
		a.mu.Unlock()
		return errors.New("mesos agent is up already")
	}
	a.up = true
	a.started = a.cfg.Clock.Now()
	a.wake = make(chan struct{})
	a.inbox = newMailbox()
	ctx, down := context.WithCancel(context.Background())
	a.down = down
	orphans := a.orphans
	a.orphans = nil
	a.mu.Unlock()
	for _, c := range orphans {
		c.destroy()
	}

	if !a.paper() {
		a.cleanOrphans()
	}
	if a.cfg.Listen != nil {
		l, err := a.cfg.Listen()
		if err != nil {
			a.kill()
			return fmt.Errorf("mesos agent %s: %w", a.cfg.Hostname, err)
		}
		srv := &http.Server{Handler: a}
		a.daemon.Go(func() { _ = srv.Serve(l) })
		a.daemon.Go(func() { <-ctx.Done(); srv.Close() })
	}
	inbox := a.inbox
	a.daemon.Go(func() { inbox.run(ctx) })
	a.daemon.Go(func() { a.stayRegistered(ctx) })
	a.daemon.Go(func() { a.updates.retry(ctx) })
	return nil
}

// Kill ends the agent as a SIGKILL does: its containers run on, the master
// starts to count missed pings.
func (a *Agent) Kill() {
	a.life.Lock()
	defer a.life.Unlock()
	a.kill()
}

func (a *Agent) kill() {
	a.mu.Lock()
	if !a.up {
		a.mu.Unlock()
		return
	}
	a.up = false
	leader, id := a.leader, a.id
	a.leader = nil
	a.down()
	a.mu.Unlock()
	a.daemon.Wait()
	if leader != nil {
		leader.Disconnect(id)
	}
}

// Unregister ends the agent in good order (SIGUSR1): the master removes it and
// its containers are destroyed.
func (a *Agent) Unregister() {
	a.mu.Lock()
	leader, id := a.leader, a.id
	a.leader, a.id = nil, ""
	a.mu.Unlock()
	if leader != nil {
		leader.Unregister(id)
	}
	a.Kill()
	a.destroyAll()
}

// Wipe kills the agent and takes its work directory away, so that it comes
// back with a new id; its containers run on as orphans that the next Start
// destroys.
func (a *Agent) Wipe() {
	a.Kill()
	a.mu.Lock()
	a.id = ""
	a.terminated = nil
	a.frameworks = map[string]mesos.FrameworkInfo{}
	a.orphans = a.sortedContainers()
	a.mu.Unlock()
	a.updates.forget()
}

// Reboot is the machine's sudden restart while the agent is killed: processes
// and network state are gone without any DEL (CLUSTER-API 5.4); the agent keeps
// its id and, once started, knows of no task.
func (a *Agent) Reboot() {
	a.Kill()
	a.mu.Lock()
	a.rebooting = true
	a.mu.Unlock()
	a.destroyAll()
	a.mu.Lock()
	a.rebooting = false
	a.mu.Unlock()
	a.updates.forget()
	entries, _ := os.ReadDir(a.cniRoot())
	for _, e := range entries {
		_ = dropState(filepath.Join(a.cniRoot(), e.Name()))
	}
}

// Partition cuts the agent off from the master, or lets it back.
func (a *Agent) Partition(on bool) {
	a.mu.Lock()
	leader, id := a.leader, a.id
	a.partitioned = on
	if on {
		a.leader = nil
	}
	a.poke()
	a.mu.Unlock()
	if on && leader != nil {
		leader.Disconnect(id)
	}
}

// Close ends the agent and everything that it started.
func (a *Agent) Close() {
	a.Kill()
	a.destroyAll()
	a.running.Wait()
	a.unmountAll()
}

// poke makes stayRegistered look again. The lock is held.
func (a *Agent) poke() {
	if a.wake != nil {
		close(a.wake)
		a.wake = make(chan struct{})
	}
}

// stayRegistered registers with each new leader.
func (a *Agent) stayRegistered(ctx context.Context) {
	for {
		changed := a.cfg.Quorum.LeaderChanged()
		leader := a.cfg.Quorum.Leader()
		a.mu.Lock()
		wake := a.wake
		want := leader != nil && leader != a.leader && !a.partitioned && a.up
		if leader == nil {
			a.leader = nil
		}
		a.mu.Unlock()
		if want {
			a.register(leader)
		}
		select {
		case <-changed:
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) register(leader *master.Master) {
	a.mu.Lock()
	r := a.registration()
	a.mu.Unlock()
	id, err := leader.Register(r)
	if errors.Is(err, master.ErrGone) {
		a.cfg.Log.Warn("refused by the master", "host", a.cfg.Hostname, "err", err)
		return
	}
	if err != nil {
		return
	}
	a.mu.Lock()
	a.id = id
	// Killed or cut off while the master answered: it must not count on us.
	cut := a.partitioned || !a.up
	if !cut {
		a.leader = leader
	}
	a.mu.Unlock()
	if cut {
		leader.Disconnect(id)
		return
	}
	a.updates.resend()
}

// registration is what the agent tells a master. The lock is held.
func (a *Agent) registration() master.Registration {
	r := master.Registration{Info: a.info(), Link: link{a, a.inbox}, Version: master.Version, PID: a.pid}
	if a.id == "" {
		return r
	}
	for _, c := range a.sortedContainers() {
		if !c.command && c.parent == nil && c.phase != gone {
			r.Executors = append(r.Executors, c.executor)
		}
	}
	for _, t := range a.sortedTasks() {
		if !t.done() || a.updates.pending(t.framework, t.id) {
			r.Tasks = append(r.Tasks, t.model())
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.frameworks)) {
		r.Frameworks = append(r.Frameworks, a.frameworks[id])
	}
	return r
}

// info is the agent's AgentInfo.
func (a *Agent) info() mesos.AgentInfo {
	info := mesos.AgentInfo{
		Hostname: a.cfg.Hostname, Port: ptr(int32(a.cfg.Port)),
		Resources: a.cfg.Resources.Resources("", "", false),
	}
	for _, k := range slices.Sorted(maps.Keys(a.cfg.Attributes)) {
		info.Attributes = append(info.Attributes, mesos.Attribute{
			Name: k, Type: mesos.TEXT, Text: &mesos.Value_Text{Value: a.cfg.Attributes[k]},
		})
	}
	if a.id != "" {
		info.ID = &mesos.AgentID{Value: a.id}
	}
	return info
}

func (a *Agent) now() time.Time { return a.cfg.Clock.Now() }

func ptr[T any](v T) *T { return &v }
