package eventlog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events/bus"
)

// LostError means that the log ends before a record that was in it: its stream
// was made anew, restored from an older backup, or written on a disk that did
// not keep it. Who went on from there would take later events for old ones.
type LostError struct {
	End  uint64 // the last record that the log has
	Was  uint64 // the last of which there is a trace
	What string // the trace
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the event log ends at record %d, but %s: stream EVENTS was made anew, or restored from an older backup. "+
		"Restore a newer one, or, if there is none, give up the records up to %d with --accept-lost-log %d; see docs/nats.md",
		e.End, e.What, e.Was, e.Was)
}

// Is makes a LostError an ErrMissing.
func (e *LostError) Is(target error) bool { return target == ErrMissing }

// traces are what is known of records that the log must have.
type traces struct {
	signed uint64   // the last record that a checkpoint of a trusted key signed
	saved  []uint64 // the records of which there may be a snapshot
}

// findSigned looks at the last checkpoint. Those of others prove nothing.
func (t *traces) findSigned(ctx context.Context, l *Log) error {
	if len(l.o.Trust) == 0 {
		return nil
	}
	c, err := l.lastTrusted(ctx, func(*Checkpoint) bool { return true })
	if c != nil {
		t.signed = c.Seq
	}
	return err
}

func (t *traces) findSaved(ctx context.Context, l *Log) (err error) {
	t.saved, err = l.Snapshots(ctx)
	return err
}

// checkWriter refuses a writer whose epoch is not the latest, and one of a log
// that has lost its end. What Options.AcceptLost gives up is no loss; then the
// snapshots of what is lost go, too.
func (l *Log) checkWriter(ctx context.Context, epoch uint64, seen *traces) error {
	if epoch > l.o.Epoch {
		return fmt.Errorf("%w: the last record is of epoch %d, this writer has %d", ErrFenced, epoch, l.o.Epoch)
	}
	signed := seen.signed
	saved, err := l.lastWhole(ctx, seen.saved)
	if err != nil {
		return err
	}
	for _, trace := range []struct {
		seq  uint64
		what string
	}{
		{signed, fmt.Sprintf("a checkpoint has signed record %d", signed)},
		{saved, fmt.Sprintf("there is a snapshot of the state after record %d", saved)},
		{l.o.Caused, fmt.Sprintf("a work item was sent because of record %d", l.o.Caused)},
	} {
		if trace.seq <= l.last {
			continue
		}
		if trace.seq > l.o.AcceptLost {
			return &LostError{End: l.last, Was: max(signed, saved, l.o.Caused), What: trace.what}
		}
		l.recovered = true
	}
	if !l.recovered {
		return nil
	}
	l.log.Error("the event log goes on without records that it had: their loss was accepted", "end", l.last, "lost_to", max(signed, saved, l.o.Caused))
	for _, seq := range seen.saved {
		if seq <= l.last {
			continue
		}
		if err := l.dropSnapshot(ctx, seq); err != nil {
			return fmt.Errorf("removing the snapshot at %d, of records that are lost: %w", seq, err)
		}
	}
	return nil
}

// lastWhole is the last whole snapshot of a record that the log does not have, 0
// if there is none: what somebody else published among them shows no loss.
func (l *Log) lastWhole(ctx context.Context, saved []uint64) (uint64, error) {
	for _, seq := range slices.Backward(saved) {
		if seq <= l.last {
			break
		}
		if _, whole, err := l.Snapshot(ctx, seq); whole || err != nil {
			return seq, err
		}
	}
	return 0, nil
}

// Recovered tells whether the log was opened although it had lost its end.
func (l *Log) Recovered() bool { return l.recovered }

// checkEnd fails when the log ends before a record that was read from it. A
// replica that has just begun to lead may need a moment to have all.
func (l *Log) checkEnd(ctx context.Context, read uint64) error {
	for deadline := time.Now().Add(endWait); ; {
		state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
		if err != nil || state.LastSeq >= read {
			return err
		}
		if time.Now().After(deadline) {
			return finalError{&LostError{End: state.LastSeq, Was: read, What: fmt.Sprintf("record %d was read from it", read)}}
		}
		if err := pause(ctx, followRetry); err != nil {
			return err
		}
	}
}

// endWait is how long the log may seem to end before what was in it, since a
// replica has just begun to lead.
const endWait = 2 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
