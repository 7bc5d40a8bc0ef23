package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Log is the log of events.
type Log interface {
	// Append returns the sequence of the last event once all are durable.
	Append(ctx context.Context, evs ...events.Event) (uint64, error)
	// Follow calls with every entry from a sequence on, in order, until ctx
	// ends or the function fails.
	Follow(ctx context.Context, from uint64, fn func(events.Entry) error) error
	// Last is the sequence of the last entry; 0 for an empty log.
	Last(ctx context.Context) (uint64, error)
	SaveSnapshot(ctx context.Context, seq uint64, data []byte) error
	LatestSnapshot(ctx context.Context, notAfter uint64) (seq uint64, data []byte, ok bool, err error)
}

// Publisher sends items to hosts, each revision once.
type Publisher interface {
	Publish(ctx context.Context, items ...*work.Item) error
}

// Reports calls with every report of every host, each at least once.
type Reports func(ctx context.Context, fn func(context.Context, work.Report) error) error

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
	Log       Log
	Publisher Publisher
	Reports   Reports
	// Sources makes the sources, given where to append, what the log already
	// says of the cluster, and up to when it does.
	Sources  func(sink Sink, known *events.Cluster, since time.Time) ([]Source, error)
	NATS     *nats.Conn // on which requests are answered
	Settings events.Settings
	// SnapshotEvery is the number of entries between two snapshots of the fold.
	SnapshotEvery uint64
	Version       string
	Logger        *slog.Logger
}

// Controller is one leading controller.
type Controller struct {
	cfg     Config
	log     *slog.Logger
	since   time.Time
	sources []Source
	metrics *Metrics

	mu      sync.Mutex
	state   *scheduler.State
	agents  map[string]AgentStatus
	changes []policyChange // the latest, oldest first
	changed chan struct{}  // closed and replaced when state or agents change
}

// policyChange is a policy change folded, with the items that it made.
type policyChange struct {
	seq  uint64
	revs map[string]uint64 // by host
}

// keptChanges is how many policy changes can be waited for at a time.
const keptChanges = 64

// New makes a controller that has folded nothing yet.
func New(cfg Config) *Controller {
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 10_000
	}
	return &Controller{
		cfg: cfg, log: cfg.Logger, since: time.Now().UTC(), metrics: newMetrics(),
		state: scheduler.NewState(), agents: map[string]AgentStatus{},
		changed: make(chan struct{}),
	}
}

// Run leads until ctx ends or something fails that another leader must mend:
// it catches up with the log, publishes what an earlier leader did not, and
// then lets the sources, the hosts and the people add to the log.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.restore(ctx); err != nil {
		return err
	}
	last, err := c.cfg.Log.Last(ctx)
	if err != nil {
		return fmt.Errorf("finding the end of the log: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	var requests sync.WaitGroup
	defer requests.Wait()

	caughtUp := make(chan struct{})
	group.Go(func() error { return c.fold(ctx, last, caughtUp) })
	group.Go(func() error {
		select {
		case <-caughtUp:
		case <-ctx.Done():
			return nil
		}
		c.log.Info("leading", "seq", last)
		if err := c.putSettings(ctx); err != nil {
			return err
		}
		known, since := c.cluster()
		sources, err := c.cfg.Sources(c.append, known, since)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.sources = sources
		c.mu.Unlock()
		for _, s := range sources {
			group.Go(func() error { return s.Run(ctx) })
		}
		group.Go(func() error { return c.cfg.Reports(ctx, c.report) })
		return errors.Join(
			serve(ctx, &requests, c.cfg.NATS, SubjectStatus, c.status),
			serve(ctx, &requests, c.cfg.NATS, SubjectApply, c.apply),
			serve(ctx, &requests, c.cfg.NATS, SubjectPolicy, c.policy),
		)
	})
	err = group.Wait()
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// restore takes the state from the latest snapshot, if there is one that this
// program can read; the log has all that a snapshot has.
func (c *Controller) restore(ctx context.Context) error {
	seq, data, ok, err := c.cfg.Log.LatestSnapshot(ctx, ^uint64(0))
	if err != nil {
		return fmt.Errorf("reading the latest snapshot: %w", err)
	}
	if !ok {
		return nil
	}
	if err := c.state.UnmarshalJSON(data); err != nil {
		c.log.Warn("the latest snapshot cannot be used; folding the whole log", "seq", seq, "error", err)
	}
	return nil
}

// fold follows the log; what an entry causes is published before the next
// entry is folded. It closes caughtUp when it has folded the entry last.
func (c *Controller) fold(ctx context.Context, last uint64, caughtUp chan struct{}) error {
	if c.state.Seq() >= last {
		close(caughtUp)
		caughtUp = nil
	}
	saved := c.state.Seq()
	return c.cfg.Log.Follow(ctx, c.state.Seq()+1, func(e events.Entry) error {
		c.mu.Lock()
		items := c.state.Apply(e)
		c.mu.Unlock()
		if err := c.cfg.Publisher.Publish(ctx, items...); err != nil {
			return fmt.Errorf("publishing what entry %d causes: %w", e.Seq, err)
		}
		c.metrics.folded(e, items)
		c.folded(e, items)
		if caughtUp != nil && e.Seq >= last {
			close(caughtUp)
			caughtUp = nil
		}
		if e.Seq-saved >= c.cfg.SnapshotEvery {
			saved = e.Seq
			return c.save(ctx, e.Seq)
		}
		return nil
	})
}

func (c *Controller) save(ctx context.Context, seq uint64) error {
	c.mu.Lock()
	data, err := c.state.MarshalJSON()
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encoding a snapshot at %d: %w", seq, err)
	}
	if err := c.cfg.Log.SaveSnapshot(ctx, seq, data); err != nil {
		c.log.Warn("a snapshot could not be saved; the next start reads more of the log", "seq", seq, "error", err)
	}
	return nil
}

// folded keeps which items a policy change made, for those who wait for it,
// and wakes them.
func (c *Controller) folded(e events.Entry, items []*work.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Event.Kind == events.PolicyApply {
		revs := make(map[string]uint64, len(items))
		for _, it := range items {
			revs[it.Host] = it.Rev
		}
		c.changes = append(c.changes, policyChange{seq: e.Seq, revs: revs})
		if len(c.changes) > keptChanges {
			c.changes = c.changes[1:]
		}
	}
	c.wake()
}

// wake tells those who wait that something changed. The lock is held.
func (c *Controller) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// cluster is what the log says of the cluster, and up to when it does.
func (c *Controller) cluster() (*events.Cluster, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cluster(), c.state.Now()
}

func (c *Controller) append(ctx context.Context, evs ...events.Event) error {
	_, err := c.cfg.Log.Append(ctx, evs...)
	return err
}

// putSettings records the settings, if they are not those of the log.
func (c *Controller) putSettings(ctx context.Context) error {
	c.mu.Lock()
	same := equalJSON(c.state.Settings(), c.cfg.Settings)
	seq := c.state.Seq()
	c.mu.Unlock()
	if same {
		return nil
	}
	now := time.Now().UTC()
	return c.append(ctx, events.Event{
		Schema: events.Schema, ID: fmt.Sprintf("settings-%d", seq), Kind: events.SettingsPut,
		Source: "controller", Time: now, Received: now, Settings: &c.cfg.Settings,
	})
}
