package mirror

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/backoff"
)

// Sink is the log as a source sees it. When Append returns nil the events are
// durable, in order. After an error none, some or all of them are; appending
// the same events again is safe, because their ids are the same.
type Sink interface {
	Append(ctx context.Context, evs ...events.Event) error
}

// batch is the most events given to one Append: well under what JetStream
// takes as one atomic batch (1000), and enough to make its sync cheap.
const batch = 256

// Mirror is a source's picture of what the log says. It runs ahead of the log
// by the pending events at most; Flush makes them durable. It is not safe for
// concurrent use.
type Mirror struct {
	source  string
	sink    Sink
	now     func() time.Time
	log     *slog.Logger
	retry   backoff.Backoff
	cluster *events.Cluster
	pending []events.Event
	steps   steps

	appended, retries uint64
	onRetry           func(error)
}

// Options are a Mirror's surroundings.
type Options struct {
	Source string // Event.Source
	Sink   Sink
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard
	Retry  backoff.Backoff  // between attempts to append
	// OnRetry is told of every attempt to append that failed. It may be nil.
	OnRetry func(error)
}

// New returns a mirror of what is known, of which it keeps its own copy; nil
// means an empty log.
func New(known *events.Cluster, o Options) *Mirror {
	m := &Mirror{source: o.Source, sink: o.Sink, now: o.Now, log: o.Logger, retry: o.Retry, onRetry: o.OnRetry}
	if known == nil {
		m.cluster = events.NewCluster()
	} else {
		m.cluster = known.Clone()
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

// Picture is what the log says once the pending events are in it. The caller
// must not change it.
func (m *Mirror) Picture() *events.Cluster { return m.cluster }

// Appended is the number of events made durable so far.
func (m *Mirror) Appended() uint64 { return m.appended }

// Flush appends the pending events, and tries again until they are durable or
// ctx ends; then it returns the cause. An event is never dropped.
func (m *Mirror) Flush(ctx context.Context) error {
	for len(m.pending) > 0 {
		evs := m.pending[:min(len(m.pending), batch)]
		err := m.sink.Append(ctx, evs...)
		if err == nil {
			m.appended += uint64(len(evs))
			if m.pending = m.pending[len(evs):]; len(m.pending) == 0 {
				m.pending = nil
			}
			if m.retries > 0 {
				m.log.Info("the log takes events again", "source", m.source, "failures", m.retries)
				m.retries = 0
				m.retry.Reset()
			}
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if m.retries++; m.retries == 1 {
			m.log.Warn("cannot append events to the log: trying again", "source", m.source, "events", len(m.pending), "error", err)
		}
		if m.onRetry != nil {
			m.onRetry(err)
		}
		if err := m.retry.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// add makes an event pending and folds it into the picture.
func (m *Mirror) add(e events.Event, key string, before, after any, at time.Time) {
	now := m.now().UTC()
	e.Schema, e.Source, e.Received, e.Time = events.Schema, m.source, now, now
	if !at.IsZero() {
		e.Time = at.UTC()
	}
	e.ID = m.steps.id(e.Kind, key, before, after, now)
	m.cluster.Apply(e)
	m.pending = append(m.pending, e)
}
