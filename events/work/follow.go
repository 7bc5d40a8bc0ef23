package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// FollowReports calls fn with the reports in the order in which they were
// stored, until ctx ends or fn fails: each time with all that are there, up to
// a few hundred. follower names who follows: where it stopped, the next call goes
// on. What was under way when a follower died comes again, up to the last few
// hundred reports, so fn must bear repetition.
//
// It fails when the reports end before one that was followed: the stream was made
// anew, or restored from an older backup, and new reports would be passed over.
//
// The report's Host, and that in its Join or Wiring, is the one that the
// server let publish it. Malformed reports are logged and passed over.
//
// It keeps a position instead of acknowledging each report, since a consumer
// with acknowledgements gives what was not acknowledged again only after a
// while, and then out of order.
func FollowReports(ctx context.Context, js jetstream.JetStream, follower string, from From, fn func(context.Context, []Report) error, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &reportFollower{js: js, subject: bus.PositionSubject(follower), from: from, fn: fn, log: log}
	for warned := false; ; warned = true {
		err := f.run(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var final finalError
		if errors.As(err, &final) {
			return final.error
		}
		if !warned {
			log.Warn("lost the reports of hosts; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(reportRetry):
		}
	}
}

// From is where to begin with the reports, besides the position that is kept.
type From struct {
	// Known is the last report that the follower knows otherwise, 0 if none.
	Known uint64
	// Again begins after Known although later ones were followed: what came of
	// them is lost.
	Again bool
}

// RewoundError means that the reports end before one that was followed.
type RewoundError struct{ End, Was uint64 }

func (e *RewoundError) Error() string {
	return fmt.Sprintf("the reports of hosts end at %d, but report %d was read: stream REPORTS was made anew, or restored from an older backup. "+
		"Restore a newer one, or keep a copy of it, delete it, and start a controller anew: it makes the stream go on after what was read; see docs/nats.md", e.End, e.Was)
}

// finalError ends following; other errors are tried again.
type finalError struct{ error }

// maxReports is the most that a follower is given at once.
const maxReports = 256

// gather is how long reports wait for others that the server says are there.
// Its count is a hint: it can speak of one that never comes.
const gather = 20 * time.Millisecond

// positionEvery bounds how many reports are followed again after a crash.
const positionEvery = 256

type reportFollower struct {
	js      jetstream.JetStream
	subject string
	from    From
	fn      func(context.Context, []Report) error
	log     *slog.Logger

	done  uint64 // the last report that fn has taken
	saved uint64 // the position that is stored
}

// run follows over one consumer until something fails.
func (f *reportFollower) run(ctx context.Context) (err error) {
	if f.done == 0 {
		if f.done, err = f.load(ctx); err != nil {
			return err
		}
		f.saved = f.done
		if f.from.Again {
			f.done = min(f.done, f.from.Known)
		}
	}
	if err := f.checkEnd(ctx, max(f.done, f.saved, f.from.Known)); err != nil {
		return err
	}
	it, err := bus.Tail(ctx, f.js, bus.ReportsStream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.done + 1,
	})
	if err != nil {
		return err
	}
	defer it.Stop()
	defer func() { // also when ctx has ended: it saves the next follower work
		saveCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if saveErr := f.save(saveCtx); saveErr != nil {
			f.log.Debug("keeping the position among the reports", "error", saveErr)
		}
	}()
	seen := f.done
	var batch []Report
	for {
		wait, gathering := jetstream.NextContext(ctx), f.done < seen
		if gathering {
			wait = jetstream.NextMaxWait(gather)
		}
		msg, err := it.Next(wait)
		quiet := gathering && errors.Is(err, nats.ErrTimeout)
		if err != nil && !quiet {
			return err // what is in the batch comes again
		}
		if !quiet {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			if meta.Sequence.Stream <= seen {
				continue
			}
			seen, quiet = meta.Sequence.Stream, meta.NumPending == 0
			rep, err := decodeReport(msg.Subject(), msg.Headers(), msg.Data())
			rep.Seq = seen
			if err != nil {
				f.log.Error("passing over a report", "subject", msg.Subject(), "seq", seen, "error", err)
			} else {
				batch = append(batch, rep)
			}
		}
		if !quiet && len(batch) < maxReports {
			continue
		}
		if len(batch) > 0 {
			if err := f.fn(ctx, batch); err != nil {
				return finalError{err}
			}
		}
		f.done, batch = seen, nil
		if quiet || f.done-f.saved >= positionEvery {
			if err := f.save(ctx); err != nil {
				return err
			}
		}
	}
}

// endWait is how long the reports may seem to end before what was read, since a
// replica has just begun to lead.
const endWait = 2 * time.Second

func (f *reportFollower) checkEnd(ctx context.Context, read uint64) error {
	for deadline := time.Now().Add(endWait); ; {
		state, err := bus.StreamState(ctx, f.js, bus.ReportsStream)
		if err != nil || state.LastSeq >= read {
			return err
		}
		if time.Now().After(deadline) {
			return finalError{&RewoundError{End: state.LastSeq, Was: read}}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(reportRetry):
		}
	}
}

func (f *reportFollower) load(ctx context.Context) (uint64, error) {
	msg, found, err := bus.Last(ctx, f.js, bus.PositionsStream, f.subject)
	if err != nil || !found {
		return 0, err
	}
	seq, err := strconv.ParseUint(string(msg.Data), 10, 64)
	if err != nil {
		f.log.Error("the position among the reports of hosts cannot be read: somebody else wrote it; going on after the last report in the log", "error", err)
		return f.from.Known, nil
	}
	return seq, nil
}

func (f *reportFollower) save(ctx context.Context) error {
	if f.done == f.saved {
		return nil
	}
	msg := &nats.Msg{Subject: f.subject, Data: strconv.AppendUint(nil, f.done, 10)}
	if _, err := bus.PublishAtomic(ctx, f.js, []*nats.Msg{msg}); err != nil {
		return fmt.Errorf("keeping the position among the reports: %w", err)
	}
	f.saved = f.done
	return nil
}
