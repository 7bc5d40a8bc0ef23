package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
)

// Read gives the records from a sequence up to the log's end at the time of
// the call; from 0, from the oldest that is kept. It ends with the first
// error: ErrGone when the first records asked for are no longer kept,
// ErrMissing when some in the middle are missing.
func (l *Log) Read(ctx context.Context, from uint64) iter.Seq2[events.Entry, error] {
	return func(yield func(events.Entry, error) bool) {
		state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
		if err != nil {
			yield(events.Entry{}, fmt.Errorf("reading the event log: %w", err))
			return
		}
		if from == 0 {
			from = state.FirstSeq
		}
		for r, err := range l.records(ctx, from, state.LastSeq) {
			var e events.Entry
			if err == nil {
				e, err = r.Entry()
			}
			if err != nil {
				yield(events.Entry{}, fmt.Errorf("reading the event log: %w", err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Records gives what the log holds from a sequence on, up to its end at the
// time of the call, to be checked (Verifier): a record that can't be read has
// its Err set, and one that is missing is seen by the sequences alone. It ends
// with the first failure to read on.
func (l *Log) Records(ctx context.Context, from uint64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
		if err != nil {
			yield(nil, fmt.Errorf("reading the event log: %w", err))
			return
		}
		for msg, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", max(from, state.FirstSeq), state.LastSeq) {
			if err != nil {
				yield(nil, fmt.Errorf("reading the event log: %w", err))
				return
			}
			if !yield(RecordOf(msg), nil) {
				return
			}
		}
	}
}

// records gives each record from one sequence to another, both included, and
// fails where one is missing.
func (l *Log) records(ctx context.Context, from, to uint64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		next := max(from, 1)
		for msg, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", from, to) {
			var r *Record
			if err == nil {
				err = inOrder(msg.Sequence, next, from)
			}
			if err == nil {
				r, err = recordOf(msg.Sequence, msg.Time, msg.Header, msg.Data)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r, nil) {
				return
			}
			next++
		}
		if next <= to {
			yield(nil, inOrder(to+1, next, from))
		}
	}
}

// inOrder checks that the record that came is the next one.
func inOrder(seq, next, from uint64) error {
	switch {
	case seq == next:
		return nil
	case next == from:
		return fmt.Errorf("records %d to %d: %w", next, seq-1, ErrGone)
	default:
		return fmt.Errorf("records %d to %d: %w", next, seq-1, ErrMissing)
	}
}

// followRetry is the pause before following again what was lost.
const followRetry = 200 * time.Millisecond

// Follow calls fn with each record from a sequence on (0: from the oldest
// kept), one after the other, and goes on with new ones as they come, across
// losses of the connection, without a gap or a double. It ends with ctx's
// error, with fn's, or when the log itself is at fault (ErrGone, ErrMissing,
// ErrInvalid), also when it ends before what was asked for (LostError).
func (l *Log) Follow(ctx context.Context, from uint64, fn func(events.Entry) error) error {
	if from == 0 {
		state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
		if err != nil {
			return fmt.Errorf("following the event log: %w", err)
		}
		from = max(state.FirstSeq, 1)
	}
	t := tail{from: from, next: from}
	for {
		err := l.tail(ctx, &t, fn)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var final finalError
		if errors.As(err, &final) {
			return final.error
		}
		if !t.lost {
			l.log.Warn("lost the end of the event log; trying again", "seq", t.next, "error", err)
			t.lost = true
		}
		if err := pause(ctx, followRetry); err != nil {
			return err
		}
	}
}

// finalError ends a Follow; other errors are tried again.
type finalError struct{ error }

// tail is how far a Follow has come.
type tail struct {
	from, next uint64
	link       *Hash // of the record before; nil: not known
	lost       bool  // something failed since the last record
}

// tail follows over one consumer until something fails.
func (l *Log) tail(ctx context.Context, t *tail, fn func(events.Entry) error) error {
	it, err := bus.Tail(ctx, l.js, bus.EventsStream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: t.next,
	})
	if err != nil {
		return err
	}
	defer it.Stop()
	if err := l.checkEnd(ctx, t.next-1); err != nil {
		return err
	}
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		seq := meta.Sequence.Stream
		if seq < t.next {
			continue
		}
		if err := inOrder(seq, t.next, t.from); err != nil {
			return finalError{fmt.Errorf("following the event log: %w", err)}
		}
		r, err := recordOf(seq, meta.Timestamp, msg.Headers(), msg.Data())
		var e events.Entry
		if err == nil && t.link != nil && !r.Foreign() && r.Prev != *t.link {
			err = fmt.Errorf("record %d: %w: it does not follow the record that was before it: the log was replaced or altered", seq, ErrInvalid)
		}
		if err == nil {
			e, err = r.Entry()
		}
		if err != nil {
			return finalError{fmt.Errorf("following the event log: %w", err)}
		}
		if err := fn(e); err != nil {
			return finalError{err}
		}
		t.next, t.link = seq+1, r.Link(t.link)
		if t.lost {
			l.log.Info("at the event log again", "seq", seq)
			t.lost = false
		}
	}
}
