package history

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// live reads the streams of a message bus.
type live struct {
	js  jetstream.JetStream
	log *eventlog.Log
}

// Live is the past that the streams hold. It only reads: the auditor's key
// will do, and no controller is needed.
func Live(ctx context.Context, js jetstream.JetStream) (*History, error) {
	if _, err := bus.StreamState(ctx, js, bus.EventsStream); err != nil {
		return nil, fmt.Errorf("opening the event log: %w", err)
	}
	return &History{src: &live{js, eventlog.Reader(js)}}, nil
}

func (l *live) close() error { return nil }

func (l *live) bounds(ctx context.Context) (first, last uint64, err error) {
	s, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	if err != nil || s.Msgs == 0 {
		return 0, 0, err
	}
	return s.FirstSeq, s.LastSeq, nil
}

func (l *live) records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return l.log.Records(ctx, from)
}

func (l *live) items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return work.ReadItems(ctx, l.js, from)
}

func (l *live) reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return work.ReadReports(ctx, l.js, from)
}

func (l *live) checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error) {
	return l.log.Checkpoints(ctx)
}

func (l *live) stored(ctx context.Context) ([]uint64, error) { return l.log.Snapshots(ctx) }

func (l *live) snapshot(ctx context.Context, seq uint64) (data []byte, whole bool, err error) {
	return l.log.Snapshot(ctx, seq)
}

func (l *live) lastSigned(ctx context.Context) (uint64, error) {
	c, err := l.log.LastCheckpoint(ctx)
	if c != nil {
		return c.Seq, nil
	}
	if err == nil || ctx.Err() != nil {
		return 0, err
	}
	// What is stored there last is none: the one before it tells.
	all, err := l.log.Checkpoints(ctx)
	return lastOf(all), err
}

// lastOf is the record of the last checkpoint that can be read, 0 without one.
func lastOf(all []eventlog.Checkpoint) uint64 {
	for _, c := range slices.Backward(all) {
		if c.Err == nil {
			return c.Seq
		}
	}
	return 0
}

// nearby is how many records around the places that a search found are looked at
// for one that was received before its neighbours.
const nearby = 1000

func (l *live) seqAt(ctx context.Context, t time.Time) (uint64, error) {
	first, last, err := l.bounds(ctx)
	if err != nil || first == 0 {
		return 0, err
	}
	// The first record that was received later.
	later, err := search(first, last, func(seq uint64) (bool, error) {
		for msg, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", seq, seq) {
			if err != nil {
				return false, err
			}
			e, err := eventlog.RecordOf(msg).Entry()
			return e.Event.Received.After(t), err
		}
		return false, fmt.Errorf("record %d: %w", seq, eventlog.ErrMissing)
	})
	if err != nil {
		return 0, err
	}
	found := later - 1
	if later == first {
		found = 0
	}
	// Where a controller's clock was ahead for a while, the search may have ended
	// there; the server's clock leads to what came after it.
	stored, err := bus.FirstSince(ctx, l.js, bus.EventsStream, t)
	if err != nil {
		return 0, err
	}
	for _, from := range slices.Compact([]uint64{later, max(later, stored-min(stored, nearby))}) {
		looked := from
		for r, err := range l.records(ctx, from) {
			if err != nil {
				return 0, err
			}
			e, err := r.Entry()
			if err != nil {
				return 0, err
			}
			if !e.Event.Received.After(t) {
				found, looked = max(found, r.Seq), r.Seq
			}
			if r.Seq >= looked+nearby {
				break
			}
		}
	}
	return found, nil
}

func (l *live) reportsAt(ctx context.Context, t time.Time) (uint64, error) {
	return bus.FirstSince(ctx, l.js, bus.ReportsStream, t)
}

// search is the first sequence, of first to last, from which on is true; the
// one after last when it nowhere is.
func search(first, last uint64, is func(uint64) (bool, error)) (uint64, error) {
	var failed error
	n := sort.Search(int(last-first+1), func(i int) bool { //nolint:gosec // a stream's length
		if failed != nil {
			return true
		}
		ok, err := is(first + uint64(i)) //nolint:gosec // not negative
		failed = err
		return ok
	})
	if failed != nil {
		return 0, failed
	}
	return first + uint64(n), nil //nolint:gosec // not negative
}
