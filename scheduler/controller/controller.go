package controller

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Log is the log of events, as every controller reads it.
type Log interface {
	// Follow calls with every entry from a sequence on, in order, until ctx
	// ends or the function fails.
	Follow(ctx context.Context, from uint64, fn func(events.Entry) error) error
	// Last is the sequence of the last entry; 0 for an empty log.
	Last(ctx context.Context) (uint64, error)
	LatestSnapshot(ctx context.Context, notAfter uint64) (seq uint64, data []byte, ok bool, err error)
}

// Reports calls with every report of every host, some at a time, each at least
// once.
type Reports func(ctx context.Context, from work.From, fn func(context.Context, []work.Report) error) error

// Source watches a part of the cluster and appends what it sees.
type Source interface {
	Run(ctx context.Context) error
	Status() SourceStatus
}

// Sink is where a source appends.
type Sink func(ctx context.Context, evs ...events.Event) error

// Append appends events; it returns once they are durable.
func (s Sink) Append(ctx context.Context, evs ...events.Event) error { return s(ctx, evs...) }

// Config is what a controller works with.
type Config struct {
	Name    string // of this controller, for people
	Log     Log
	Reports Reports
	// Sources makes the sources, given where to append, what the log already
	// says of the cluster, and up to when it does.
	Sources func(sink Sink, known *events.Cluster, since time.Time) ([]Source, error)
	// Stored is what is stored of the items: the last log entry because of which there
	// is one, 0 if there is none, and the last revision of each host.
	Stored func(ctx context.Context) (cause uint64, revs map[string]uint64, err error)
	// Mend brings the streams back to their configuration, if somebody changed it,
	// and says what was wrong; nil: nobody looks.
	Mend     func(ctx context.Context) (found []string, err error)
	NATS     *nats.Conn // on which requests are answered and controllers announce themselves
	Settings events.Settings
	// SnapshotEvery is the least number of entries between two snapshots of the
	// fold, and more lie between large ones; zero: 10,000. With fewer entries there is one an hour.
	SnapshotEvery uint64
	// CheckpointEvery is how often the leader signs the log's end, if it has
	// grown; zero: ten minutes.
	CheckpointEvery time.Duration
	Version         string
	Logger          *slog.Logger
}

// Controller folds the log along, and leads when it is told to.
type Controller struct {
	cfg     Config
	id      string // of this process, among all controllers
	log     *slog.Logger
	started time.Time
	metrics *Metrics

	mu      sync.Mutex
	state   *scheduler.State  // folded; what it made may not be settled yet
	settled uint64            // the last entry of which everything is published
	said    uint64            // the last entry of which some leader says so
	sent    map[string]uint64 // the last revision of each host of what is settled
	again   chan error        // asks for the fold to begin again, and says why
	last    uint64            // the log's end, as last seen
	broken  error             // why the log could not be folded to its end; nil since it was
	term    *term             // nil: another leads, or nobody
	sources []Source
	agents  map[string]AgentStatus
	others  map[string]Peer // by id, as they announced themselves
	hearing hearing
	keeping Keeping
	read    uint64         // the last report of a host that was read in this term; 0: none
	changes []policyChange // the latest, oldest first
	changed chan struct{}  // closed and replaced when any of these change
}

// policyChange is a policy change folded, with the items that it made.
type policyChange struct {
	seq  uint64
	revs map[string]uint64 // by host
}

// keptChanges is how many policy changes can be waited for at a time.
const keptChanges = 64

// New makes a controller that has folded nothing yet. Follow must run for it
// to do anything.
func New(cfg Config) *Controller {
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 10_000
	}
	if cfg.CheckpointEvery == 0 {
		cfg.CheckpointEvery = 10 * time.Minute
	}
	return &Controller{
		cfg: cfg, id: nuid.Next(), log: cfg.Logger, started: time.Now().UTC(), metrics: newMetrics(cfg.Version, cfg.NATS.IsConnected),
		state: scheduler.NewState(), agents: map[string]AgentStatus{}, others: map[string]Peer{},
		sent: map[string]uint64{}, again: make(chan error, 1), changed: make(chan struct{}),
	}
}

// wake tells those who wait that something changed. The lock is held.
func (c *Controller) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns when done says so, or when ctx ends. done is called with the
// lock held, each time that something has changed.
func (c *Controller) wait(ctx context.Context, done func() bool) error {
	for {
		c.mu.Lock()
		yes, changed := done(), c.changed
		c.mu.Unlock()
		if yes {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cluster is what the log says of the cluster, and up to when it does.
func (c *Controller) cluster() (*events.Cluster, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cluster(), c.state.Now()
}
