package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/backoff"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// step is an entry folded, on its way to be settled.
type step struct {
	entry    events.Entry
	items    []*work.Item
	snapshot []byte // of the state after it, when one is due
}

const (
	// maxSteps bounds how far the fold runs ahead of what is settled.
	maxSteps = 1024
	// maxItems is how many items are published at a time when many wait.
	maxItems = 256
	// snapshotAfter is the time after which a snapshot is due even if few
	// entries came.
	snapshotAfter = time.Hour
	// bytesPerEntry has the snapshots of a large cluster lie further apart: one of
	// 100,000 tasks, 60 MB, takes about a second of a core to write, as long as
	// some 20,000 entries take to fold.
	bytesPerEntry = 1000
)

// snapshotApart is how many entries lie between a snapshot of a size and the
// next, at least.
func snapshotApart(every uint64, size int) uint64 {
	return max(every, uint64(size)/bytesPerEntry) //nolint:gosec // not negative
}

// Follow folds the log along until ctx ends, whether this controller leads or
// not. When the log cannot be followed any more, it ends the term, if there is
// one, and begins again with the latest snapshot.
func (c *Controller) Follow(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.listen(ctx) })
	group.Go(func() error { return c.hearAgents(ctx) })
	group.Go(func() error { return c.announce(ctx) })
	group.Go(func() error { return c.watchEnd(ctx) })
	group.Go(func() error {
		pause := backoff.Backoff{Min: time.Second, Max: 30 * time.Second}
		for {
			begun := time.Now()
			err := c.foldAlong(ctx)
			if time.Since(begun) > time.Minute {
				pause.Reset()
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.metrics.broken.Inc()
			c.log.Error("the log can't be folded; beginning again with the latest snapshot", "error", err)
			c.endTerm(err)
			if pause.Wait(ctx) != nil {
				return context.Cause(ctx)
			}
		}
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// foldAlong restores the state and folds from there, until something fails.
func (c *Controller) foldAlong(ctx context.Context) error {
	if err := c.restore(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	steps := make(chan step, maxSteps)
	snapshots := make(chan step, 1)
	group.Go(func() error { return c.fold(ctx, steps) })
	group.Go(func() error { return c.awaitEnd(ctx) })
	group.Go(func() error { return c.settle(ctx, steps, snapshots) })
	group.Go(func() error { return c.save(ctx, snapshots) })
	group.Go(func() error {
		select {
		case err := <-c.again:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return group.Wait()
}

// restore takes the state from the latest snapshot, if there is one that this
// program can read; the log has all that a snapshot has.
func (c *Controller) restore(ctx context.Context) error {
	last, err := c.cfg.Log.Last(ctx)
	if err != nil {
		return fmt.Errorf("finding the end of the log: %w", err)
	}
	// Not one of records that the log has lost: later ones would be taken for those.
	state, err := c.snapshotAt(ctx, last)
	if err != nil {
		return err
	}
	cause, revs, err := c.cfg.Stored(ctx)
	if err != nil {
		return err
	}
	if host := behind(state, revs); host != "" && cause > 0 {
		c.log.Error("the message bus has lost work items that it had acknowledged; folding again what made them", "host", host, "stored_for", cause)
		if state, err = c.snapshotAt(ctx, cause-1); err != nil { // of the last cause's items some may be missing, too
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A snapshot is saved when all that came before it is published.
	c.state, c.settled, c.last = state, state.Seq(), last
	clear(c.sent)
	select {
	case <-c.again: //nolint:errcheck // it is folded again anyway
	default:
	}
	c.said = min(c.said, last)
	c.changes = slices.DeleteFunc(c.changes, func(p policyChange) bool { return p.seq > state.Seq() }) // they come again
	c.wake()
	return nil
}

// snapshotAt is the state of the latest snapshot up to a record, or an empty one.
func (c *Controller) snapshotAt(ctx context.Context, notAfter uint64) (*scheduler.State, error) {
	seq, data, ok, err := c.cfg.Log.LatestSnapshot(ctx, notAfter)
	if err != nil {
		return nil, fmt.Errorf("reading the latest snapshot: %w", err)
	}
	state := scheduler.NewState()
	if ok {
		if err := state.UnmarshalBinary(data); err != nil {
			c.log.Warn("the latest snapshot cannot be used; folding the whole log", "seq", seq, "error", err)
			state = scheduler.NewState()
		}
	}
	return state, nil
}

// behind is a host of which less is stored than a state has made, or "". Of one of
// which nothing is stored, all may have been too old to be kept.
func behind(state *scheduler.State, stored map[string]uint64) string {
	for _, host := range state.HostNames() {
		if v, _ := state.HostView(host); stored[host] > 0 && v.Rev > stored[host] {
			return host
		}
	}
	return ""
}

// awaitEnd waits until all is folded that the log had when it began, or what is left
// of that: it may have lost its end since, or have none.
func (c *Controller) awaitEnd(ctx context.Context) error {
	for end := uint64(math.MaxUint64); ; {
		if last, err := c.cfg.Log.Last(ctx); err == nil { // else it is asked again
			end = min(end, last)
		}
		c.mu.Lock()
		there := c.state.Seq() >= end
		if there {
			c.folds()
		}
		c.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-time.After(awaitEndEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitEndEvery is how often awaitEnd looks.
const awaitEndEvery = 200 * time.Millisecond

// fold follows the log.
func (c *Controller) fold(ctx context.Context, steps chan<- step) error {
	c.mu.Lock()
	saved, savedAt, every := c.state.Seq(), time.Now(), c.cfg.SnapshotEvery
	c.mu.Unlock()
	foreign := false
	err := c.cfg.Log.Follow(ctx, saved+1, func(e events.Entry) error {
		was := foreign
		if foreign = e.Event.Kind == events.Foreign; foreign && !was {
			c.log.Error("the log's stream holds a message that no controller wrote; passing over it, and over those that follow it: find out who may publish there",
				"seq", e.Seq, "stored", e.Event.Received)
		}
		c.mu.Lock()
		before := c.state.Now()
		s := step{entry: e, items: c.state.Apply(e)}
		if now := c.state.Now(); now.Before(before) {
			c.log.Error("times in the log go back: the clock of a controller was ahead", "seq", e.Seq, "from", before, "to", now)
		}
		leads := c.term != nil
		c.mu.Unlock()
		if leads && (e.Seq-saved >= every || time.Since(savedAt) >= snapshotAfter) {
			saved, savedAt = e.Seq, time.Now()
			var err error
			if s.snapshot, err = c.snapshot(); err != nil {
				return fmt.Errorf("encoding a snapshot at %d: %w", e.Seq, err)
			}
			every = snapshotApart(c.cfg.SnapshotEvery, len(s.snapshot))
		}
		select {
		case steps <- s:
			return nil
		default:
		}
		c.mu.Lock()
		c.folds() // as far as it can come unless somebody leads
		c.mu.Unlock()
		select {
		case steps <- s:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if ctx.Err() == nil {
		c.mu.Lock()
		c.broken = err
		c.mu.Unlock()
	}
	return err
}

// foldAgain has the fold begin again, before this controller may lead. The lock is
// held.
func (c *Controller) foldAgain(err error) {
	c.broken = err
	select {
	case c.again <- err:
	default:
	}
}

// folds notes that the log can be folded. The lock is held.
func (c *Controller) folds() {
	if c.broken != nil {
		c.broken = nil
		c.wake()
	}
}

func (c *Controller) snapshot() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.MarshalBinary()
}

// settle sees to it that what was folded is published, by this controller or
// by another.
func (c *Controller) settle(ctx context.Context, steps <-chan step, snapshots chan<- step) error {
	for {
		batch, err := take(ctx, steps)
		if err != nil {
			return err
		}
		if err := c.publish(ctx, batch); err != nil {
			return err
		}
		c.metrics.settled(batch)
		c.noteSettled(batch)
		for _, s := range batch {
			if s.snapshot == nil {
				continue
			}
			select {
			case snapshots <- s:
			default: // the last one is still on its way
			}
		}
	}
}

// take waits for a step and takes those that are there already.
func take(ctx context.Context, steps <-chan step) ([]step, error) {
	var batch []step
	select {
	case s := <-steps:
		batch = append(batch, s)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for n := len(batch[0].items); n < maxItems && len(batch) < maxSteps; {
		select {
		case s := <-steps:
			batch = append(batch, s)
			n += len(s.items)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// publish returns when the items of all steps are published: by this
// controller if it leads, else when who leads says so.
func (c *Controller) publish(ctx context.Context, batch []step) error {
	var items []*work.Item
	var last uint64 // the last entry that made any
	for _, s := range batch {
		if len(s.items) > 0 {
			items, last = append(items, s.items...), s.entry.Seq
		}
	}
	for len(items) > 0 {
		var t *term
		if err := c.wait(ctx, func() bool { t = c.term; return t != nil || c.said >= last }); err != nil {
			return err
		}
		if t == nil {
			return nil
		}
		err := t.publish(items, c.log)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, work.ErrGap):
			return err // what was folded doesn't fit what was published: fold again
		}
		c.finish(t, fmt.Errorf("publishing what entries up to %d cause: %w", last, err))
	}
	return nil
}

// noteSettled keeps which items a policy change made, for those who wait for
// it, and wakes them.
func (c *Controller) noteSettled(batch []step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range batch {
		c.settled = s.entry.Seq
		for _, it := range s.items {
			c.sent[it.Host] = it.Rev
		}
		if s.entry.Event.Kind != events.PolicyApply {
			continue
		}
		revs := make(map[string]uint64, len(s.items))
		for _, it := range s.items {
			revs[it.Host] = it.Rev
		}
		c.changes = append(c.changes, policyChange{seq: s.entry.Seq, revs: revs})
		if len(c.changes) > keptChanges {
			c.changes = c.changes[1:]
		}
	}
	c.last = max(c.last, c.settled)
	c.wake()
}

// save saves snapshots, beside the fold.
func (c *Controller) save(ctx context.Context, snapshots <-chan step) error {
	for {
		var s step
		select {
		case s = <-snapshots:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.mu.Lock()
		t := c.term
		c.mu.Unlock()
		if t == nil {
			continue
		}
		if err := t.Log.SaveSnapshot(ctx, s.entry.Seq, s.snapshot); err != nil {
			c.log.Warn("a snapshot could not be saved; the next start reads more of the log", "seq", s.entry.Seq, "error", err)
		}
	}
}
