package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
)

// pending is an event on its way into the log.
type pending struct {
	id   string
	data []byte
}

// Append writes events in order and returns the sequence of the log's last
// record when all of them are durable. Up to bus.MaxBatch events are written
// as a whole or not at all; more, as several such batches. But a server that
// runs out of room stores the beginning of a batch.
//
// An event whose id the log already holds (of the last two minutes at least)
// is skipped, so that a caller may repeat an Append that failed. An event that
// is not valid fails the whole call before anything is written. After
// ErrFenced the Log can't append any more.
//
// Records of an earlier writer that were under way may come to lie before
// these: fold what Follow delivers, not what Append was given.
func (l *Log) Append(ctx context.Context, evs ...events.Event) (last uint64, err error) {
	todo := make([]pending, len(evs))
	for i := range evs {
		if err := Validate(&evs[i]); err != nil {
			return 0, fmt.Errorf("appending %s: %w", evs[i].Kind, err)
		}
		data, err := json.Marshal(&evs[i])
		if err != nil {
			return 0, fmt.Errorf("appending %s %s: %w", evs[i].Kind, evs[i].ID, err)
		}
		todo[i] = pending{evs[i].ID, data}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(todo) > 0 {
		n := min(len(todo), bus.MaxBatch)
		if err := l.appendBatch(ctx, todo[:n]); err != nil {
			return l.last, fmt.Errorf("appending %d events after %d: %w", n, l.last, err)
		}
		todo = todo[n:]
	}
	if now := time.Now(); l.careDue(now) {
		l.care(ctx, now)
	}
	return l.last, nil
}

// appendBatch writes one batch, and finds its place again when it lost it.
func (l *Log) appendBatch(ctx context.Context, batch []pending) error {
	for attempt := 0; ; attempt++ {
		if l.fenced != nil {
			return l.fenced
		}
		if l.unsure {
			if err := l.catchUp(ctx); err != nil {
				return err
			}
		}
		msgs, hash, err := l.messages(batch)
		if err != nil || len(msgs) == 0 {
			return err
		}
		last, err := bus.PublishAtomic(ctx, l.js, msgs)
		switch {
		case err == nil && last == l.last+uint64(len(msgs)):
			l.last, l.hash = last, hash
			for _, p := range batch {
				l.recent.add(p.id)
			}
			return nil
		case err == nil:
			l.unsure = true
			return fmt.Errorf("the batch ends at %d instead of %d", last, l.last+uint64(len(msgs)))
		case attempt == 3:
			l.unsure = true
			return err
		case errors.Is(err, bus.ErrFenced):
			l.unsure = true // someone wrote after what we know of: find out who
		case errors.Is(err, bus.ErrDuplicate):
			if err := l.learnIDs(ctx); err != nil {
				return err
			}
			l.unsure = true
		default:
			l.unsure = true
			return err
		}
	}
}

// messages are the records for those events that the log does not hold, and
// the hash of the last.
func (l *Log) messages(batch []pending) ([]*nats.Msg, Hash, error) {
	msgs := make([]*nats.Msg, 0, len(batch))
	inBatch := make(map[string]struct{}, len(batch))
	seq, hash := l.last, l.hash
	for _, p := range batch {
		if _, twice := inBatch[p.id]; twice || l.recent.has(p.id) {
			continue
		}
		inBatch[p.id] = struct{}{}
		seq++
		r := Record{Seq: seq, Prev: hash, Epoch: l.o.Epoch, Writer: l.writer, Data: p.data}
		msg, err := r.message(l.js.Conn(), p.id)
		if err != nil {
			return nil, hash, err
		}
		msgs = append(msgs, msg)
		hash = r.Hash()
	}
	if len(msgs) > 0 {
		msgs[0].Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatUint(l.last, 10))
	}
	return msgs, hash, nil
}

// catchUp reads what was stored after the last record that we know: our own,
// when an acknowledgement was lost, that of an earlier writer, or a foreign
// message. Anything else fences us.
func (l *Log) catchUp(ctx context.Context) error {
	end, err := l.Last(ctx)
	if err != nil {
		return err
	}
	if end < l.last {
		return fmt.Errorf("the log ends at %d, it was at %d: %w", end, l.last, ErrMissing)
	}
	for r, err := range l.records(ctx, l.last+1, end) {
		if err != nil {
			return err
		}
		if r.Foreign() {
			l.last, l.hash = r.Seq, *r.Link(&l.hash)
			continue
		}
		if r.Epoch > l.o.Epoch || r.Epoch == l.o.Epoch && r.Writer != l.writer {
			l.fenced = fmt.Errorf("%w: record %d is of epoch %d, this writer has %d", ErrFenced, r.Seq, r.Epoch, l.o.Epoch)
			return l.fenced
		}
		l.last, l.hash = r.Seq, r.Hash()
		var e events.Event
		if json.Unmarshal(r.Data, &e) == nil {
			l.recent.add(e.ID)
		}
	}
	l.unsure = false
	return nil
}

// idWindow is a bit more than what the server remembers.
const idWindow = 3 * time.Minute

// learnIDs reads the ids of the latest records, so that those of a batch that
// the server refused can be told.
func (l *Log) learnIDs(ctx context.Context) error {
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	if err != nil {
		return err
	}
	first, err := bus.FirstSince(ctx, l.js, bus.EventsStream, state.LastTime.Add(-idWindow)) // by the server's clock
	if err != nil {
		return err
	}
	for msg, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", first, l.last) {
		if err != nil {
			return err
		}
		l.recent.add(msg.Header.Get(jetstream.MsgIDHeader))
	}
	return nil
}
