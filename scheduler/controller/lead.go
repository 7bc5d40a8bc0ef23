package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// TermLog is the log as the leader writes it. It refuses a leader that another
// has followed: eventlog.ErrFenced.
type TermLog interface {
	// Append returns the sequence of the last event once all are durable.
	Append(ctx context.Context, evs ...events.Event) (uint64, error)
	SaveSnapshot(ctx context.Context, seq uint64, data []byte) error
	// Checkpoint signs the log's end, unless that is signed already.
	Checkpoint(ctx context.Context) error
	// CheckRetention warns of what retention will remove, and says how full the
	// streams are.
	CheckRetention(ctx context.Context) ([]bus.Usage, error)
	// LastCheckpoint is nil when there is none.
	LastCheckpoint(ctx context.Context) (*eventlog.Checkpoint, error)
}

// Publisher sends items to hosts, each revision once. It refuses a leader that
// another has followed: work.ErrFenced.
type Publisher interface {
	Publish(ctx context.Context, items ...*work.Item) error
}

// Term is the time for which this controller leads: see package lease.
type Term struct {
	Epoch uint64
	Log   TermLog
	Signs bool // the log has a key for checkpoints
	// Sent are the revisions that hosts were sent before the term.
	Sent map[string]uint64
	// Recovered says that the log has lost records, and goes on without them.
	Recovered bool
	Publisher Publisher
}

// term is a Term under way.
type term struct {
	Term
	ctx   context.Context
	end   context.CancelCauseFunc
	since time.Time
}

// Lead leads until ctx ends, when it returns nil, or until something fails that
// only a new term can mend. Follow must run beside it.
//
// The first thing is a record in the log, which ends the reign of whoever wrote
// before. Then it publishes what was not published, and when it has come to
// that record it lets the sources, the hosts and the people add to the log.
func (c *Controller) Lead(ctx context.Context, t Term) error {
	c.mu.Lock()
	broken, folded := c.broken, c.state.Seq()
	c.mu.Unlock()
	if broken != nil {
		return fmt.Errorf("not leading, since the log can't be folded: %w", broken)
	}
	if err := c.checkSent(t.Sent); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	begun := time.Now()
	now := begun.UTC()
	seq, err := t.Log.Append(ctx, events.Event{
		Schema: events.Schema, ID: "term-" + nuid.Next(), Kind: events.TermBegin, Source: "controller",
		Time: now, Received: now, Term: &events.Term{Leader: c.cfg.Name, Epoch: t.Epoch, Version: c.cfg.Version},
	})
	if err != nil {
		return fmt.Errorf("beginning the term in the log: %w", err)
	}
	if seq <= folded {
		err := fmt.Errorf("record %d was folded, and the term begins with record %d: %w", folded, seq, errReplaced)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.foldAgain(err)
		return err
	}
	lead := &term{Term: t, ctx: ctx, end: end, since: now}
	c.mu.Lock()
	c.term, c.read = lead, 0
	c.last = max(c.last, seq)
	c.wake()
	c.mu.Unlock()
	c.metrics.terms.Inc()
	defer c.metrics.ended()
	defer c.finish(lead, nil)

	if err := c.wait(ctx, func() bool { return c.settled >= seq }); err != nil {
		return ended(err)
	}
	if err := c.checkCluster(); err != nil {
		return err
	}
	if err := c.overtake(ctx, t); err != nil {
		return err
	}
	c.log.Info("at the end of the log", "epoch", t.Epoch, "seq", seq, "after", time.Since(begun).Round(time.Millisecond))
	err = c.serve(ctx, lead)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err = ended(err); err == nil { // all that was appended is signed
		last, cancel := bus.Timeout(context.WithoutCancel(ctx))
		defer cancel()
		c.checkpoint(last, lead)
	}
	return err
}

// ended is nil for a term that was asked to end.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// overtake has the revisions of hosts go on after those that they were sent
// before, when the log makes fewer: it has lost records, or another version made
// more of them. Hosts, and the stream, would take what is new for what they have.
func (c *Controller) overtake(ctx context.Context, t Term) error {
	now := time.Now().UTC()
	var evs []events.Event
	c.mu.Lock()
	for _, host := range events.SortedKeys(t.Sent) {
		h, _ := c.state.HostView(host)
		if h.Rev >= t.Sent[host] {
			continue
		}
		c.log.Error("a host was sent more than the log makes: it gets its whole picture anew", "host", host, "sent", t.Sent[host], "made", h.Rev)
		evs = append(evs, events.Event{
			Schema: events.Schema, ID: "overtake-" + nuid.Next(), Kind: events.AgentJoin, Source: "controller", Time: now, Received: now,
			Join: &events.Join{Host: host, Reason: "it was sent more than the log makes", Rev: t.Sent[host]},
		})
	}
	c.mu.Unlock()
	if len(evs) == 0 {
		return nil
	}
	if err := c.append(ctx, evs...); err != nil {
		return fmt.Errorf("going on after what hosts were sent: %w", err)
	}
	return nil
}

// serve lets events come in, and answers.
func (c *Controller) serve(ctx context.Context, t *term) error {
	if err := c.putSettings(ctx); err != nil {
		return err
	}
	known, since := c.cluster()
	c.mu.Lock()
	from := work.From{Known: c.state.LastReport(), Again: t.Recovered}
	c.mu.Unlock()
	sources, err := c.cfg.Sources(c.sink(t.Epoch), known, since)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.sources = sources
	c.mu.Unlock()
	var requests sync.WaitGroup
	defer requests.Wait()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		group.Go(func() error { return s.Run(ctx) })
	}
	group.Go(func() error { return c.cfg.Reports(ctx, from, c.report) })
	group.Go(func() error { return c.keep(ctx, t) })
	group.Go(func() error {
		return errors.Join(
			serve(ctx, &requests, c.cfg.NATS, SubjectStatus, c.status),
			serve(ctx, &requests, c.cfg.NATS, SubjectApply, c.apply),
			serve(ctx, &requests, c.cfg.NATS, SubjectPolicy, c.policy),
			serve(ctx, &requests, c.cfg.NATS, SubjectSessions, c.sessions),
			serve(ctx, &requests, c.cfg.NATS, SubjectRoutes, c.routes),
			serve(ctx, &requests, c.cfg.NATS, SubjectDrain, c.drain),
		)
	})
	return group.Wait()
}

// finish ends a term, if it has not ended.
func (c *Controller) finish(t *term, err error) {
	t.end(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term == t {
		c.term, c.sources = nil, nil
		c.wake()
	}
}

// errItemsLost means that items were published and are no longer stored: a server
// that writes them behind was killed, or its disk was full.
var errItemsLost = errors.New("the message bus has lost work items that it had acknowledged; they are made again")

// errReplaced means that NATS has an older log than this controller knew: its
// store was put back while the controller ran.
var errReplaced = errors.New("the event log was replaced by an older one; it is folded again")

// checkSent has the fold begin again when less is stored than was published.
func (c *Controller) checkSent(stored map[string]uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for host, rev := range c.sent {
		if stored[host] >= rev || stored[host] == 0 { // all may have been too old to be kept
			continue
		}
		err := fmt.Errorf("host %s was sent item %d, and has %d stored: %w", host, rev, stored[host], errItemsLost)
		c.foldAgain(err)
		return err
	}
	return nil
}

// CanLead waits until this controller can fold the log: it returns at once unless
// that has failed. Of two versions the older may not know what the newer writes.
func (c *Controller) CanLead(ctx context.Context) error {
	return c.wait(ctx, func() bool { return c.broken == nil })
}

// Leads tells whether this controller leads.
func (c *Controller) Leads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term != nil
}

// endTerm ends the term under way, if any.
func (c *Controller) endTerm(err error) {
	c.mu.Lock()
	t := c.term
	c.mu.Unlock()
	if t != nil {
		c.finish(t, err)
	}
}

// publishRetry is the pause before publishing again what could not be.
const publishRetry = 100 * time.Millisecond

// publish publishes items. While the message bus is away it tries on, for as
// long as the term lasts: its lease says how long that is.
func (t *term) publish(items []*work.Item, log *slog.Logger) error {
	for said := false; ; said = true {
		err := t.Publisher.Publish(t.ctx, items...)
		switch {
		case err == nil:
			return nil
		case t.ctx.Err() != nil:
			return context.Cause(t.ctx)
		case errors.Is(err, work.ErrFenced), errors.Is(err, work.ErrGap), errors.Is(err, bus.ErrTooLarge):
			return err
		}
		if !said {
			log.Warn("work items could not be published; trying on", "items", len(items), "error", err)
		}
		select {
		case <-time.After(publishRetry):
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
	}
}

// errNotLeading means that the term of who wanted to append is over.
var errNotLeading = errors.New("this controller does not lead")

// append is the sink of the sources. They try again whatever fails, so a log
// that refuses this leader for good must end the term, and them with it.
func (c *Controller) append(ctx context.Context, evs ...events.Event) error {
	_, err := c.appendSeq(ctx, evs...)
	return err
}

// sink is where the sources append in a term. It makes their ids of this term: a
// source tells a happening from an earlier one that was alike by counting, and
// does not know of those before it. What the log holds of earlier terms the source
// begins with, so nothing is told of twice.
func (c *Controller) sink(epoch uint64) Sink {
	term := "/" + strconv.FormatUint(epoch, 10)
	return func(ctx context.Context, evs ...events.Event) error {
		evs = slices.Clone(evs)
		for i := range evs {
			evs[i].ID += term
		}
		return c.append(ctx, evs...)
	}
}

func (c *Controller) appendSeq(ctx context.Context, evs ...events.Event) (uint64, error) {
	c.mu.Lock()
	t := c.term
	c.mu.Unlock()
	if t == nil {
		return 0, errNotLeading
	}
	seq, err := t.Log.Append(ctx, evs...)
	if errors.Is(err, eventlog.ErrFenced) {
		c.finish(t, err)
	}
	if err == nil {
		c.mu.Lock()
		c.last = max(c.last, seq)
		c.mu.Unlock()
	}
	return seq, err
}

// ErrOtherCluster means that the log is that of another Mesos cluster: who led
// with it would take all of that one's tasks for gone.
var ErrOtherCluster = errors.New("the log on this message bus is that of another Mesos cluster")

// checkCluster refuses a log that has the name of another cluster.
func (c *Controller) checkCluster() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if was, is := c.state.Settings().Cluster, c.cfg.Settings.Cluster; was != "" && was != is {
		return fmt.Errorf("%w: it is of %q, this controller is of %q (--cluster). Give each cluster a NATS account of its own; see docs/nats.md", ErrOtherCluster, was, is)
	}
	return nil
}

// putSettings records the settings, if they are not those of the log.
func (c *Controller) putSettings(ctx context.Context) error {
	c.mu.Lock()
	same := equalJSON(c.state.Settings(), c.cfg.Settings)
	c.mu.Unlock()
	if same {
		return nil
	}
	now := time.Now().UTC()
	return c.append(ctx, events.Event{
		Schema: events.Schema, ID: "settings-" + nuid.Next(), Kind: events.SettingsPut,
		Source: "controller", Time: now, Received: now, Settings: &c.cfg.Settings,
	})
}
