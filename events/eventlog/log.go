package eventlog

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/events/bus"
)

// Options configure a Log.
type Options struct {
	// Epoch is the writer's (package lease). Of two writers the one with the
	// later epoch wins. Readers need none.
	Epoch uint64
	// Key signs checkpoints; without one none are written.
	Key ed25519.PrivateKey
	// Trust are the keys whose checkpoints Verify and LatestSnapshot believe,
	// besides Key's own.
	Trust []ed25519.PublicKey
	// A checkpoint is written when so many records or so much time have gone
	// by since the last, at the next Append. Zero: 10,000 and ten minutes.
	CheckpointEvery uint64
	CheckpointAfter time.Duration
	// Caused is the last record of which it is known that something followed
	// from it, such as a work item. A writer is refused when the log ends before.
	Caused uint64
	// AcceptLost gives up the records up to this one, if the log has lost them:
	// see LostError.
	AcceptLost uint64
	Logger     *slog.Logger
}

// Log is the event log. Its methods may be called by several goroutines.
type Log struct {
	js     jetstream.JetStream
	o      Options
	log    *slog.Logger
	writer string // this writer, among those of the same epoch

	mu     sync.Mutex // guards the rest; held while appending
	last   uint64     // sequence and hash of the last record known
	hash   Hash
	unsure bool  // the outcome of the last append is not known
	fenced error // set for good when another writer took over
	recent recentIDs
	mark   mark
	signed uint64 // the last checkpoint of this writer
	limits retention

	recovered bool // a loss was accepted

	state *StateMark // of the last snapshot, until a checkpoint vouches for it

	signedReports uint64 // the last report that it vouches for
	tally         tally
}

// Open opens the log of the streams that bus.EnsureStreams made. A writer
// (with an epoch) is refused when a later one has written (ErrFenced), and when
// the log has lost its end (LostError).
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*Log, error) {
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 10_000
	}
	if o.CheckpointAfter == 0 {
		o.CheckpointAfter = 10 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Key != nil {
		o.Trust = append([]ed25519.PublicKey{o.Key.Public().(ed25519.PublicKey)}, o.Trust...)
	}
	l := &Log{js: js, o: o, log: o.Logger, writer: nuid.Next()}
	state, err := l.findEnd(ctx)
	for deadline := time.Now().Add(endWait); errors.Is(err, ErrMissing) && time.Now().Before(deadline); {
		if pause(ctx, followRetry) != nil {
			break
		}
		state, err = l.findEnd(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the event log: %w", err)
	}
	if state.Msgs == 0 && l.last > 0 {
		// All is too old to be kept. If a checkpoint knows the end, the chain goes on.
		all, err := l.Checkpoints(ctx)
		if err != nil {
			return nil, fmt.Errorf("opening the event log: %w", err)
		}
		for _, c := range all {
			if c.Seq == l.last {
				l.hash = c.Hash
			}
		}
	}
	l.mark = mark{seq: l.last, at: time.Now()}
	return l, nil
}

// Reader is the log for who only reads: whatever its end is.
func Reader(js jetstream.JetStream) *Log { return &Log{js: js, log: slog.New(slog.DiscardHandler)} }

// findEnd reads the last record, and checks that a writer may go on from it.
func (l *Log) findEnd(ctx context.Context) (jetstream.StreamState, error) {
	// All at once: who takes over is waited for.
	var seen traces
	var looking errgroup.Group
	if l.o.Epoch > 0 {
		looking.Go(func() error { return seen.findSigned(ctx, l) })
		looking.Go(func() error { return seen.findSaved(ctx, l) })
	}
	end, err := l.findLast(ctx)
	l.last, l.hash = end.state.LastSeq, end.hash
	if err = errors.Join(err, looking.Wait()); err != nil || l.o.Epoch == 0 {
		return end.state, err
	}
	return end.state, l.checkWriter(ctx, end.epoch, &seen)
}

// end is where the log ends.
type end struct {
	state jetstream.StreamState
	hash  Hash   // of the last record; zeros if none is kept
	epoch uint64 // of the last that a controller wrote; 0 if none is kept
}

// findLast reads the last record, and when that is a foreign message those
// before it up to the last that a controller wrote.
func (l *Log) findLast(ctx context.Context) (e end, err error) {
	if e.state, err = bus.StreamState(ctx, l.js, bus.EventsStream); err != nil || e.state.Msgs == 0 {
		return e, err
	}
	first, last := e.state.FirstSeq, e.state.LastSeq
	for back := uint64(0); ; back = 2*back + 1 {
		from := last - min(back, last-first)
		var link *Hash
		for r, err := range l.records(ctx, from, last) {
			if err != nil {
				return e, err
			}
			if link = r.Link(link); !r.Foreign() {
				e.epoch = r.Epoch
			}
		}
		if link != nil {
			e.hash = *link
		}
		if link != nil || from == first {
			return e, nil
		}
	}
}

// Last is the sequence of the last record, 0 of an empty log.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	return state.LastSeq, err
}

// LastEpoch is the epoch of the last record, 0 of an empty log.
func (l *Log) LastEpoch(ctx context.Context) (uint64, error) {
	end, err := l.findLast(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the last record: %w", err)
	}
	return end.epoch, nil
}

// recentIDs remembers the ids of the latest records, at least idsKept and at
// most twice as many.
type recentIDs struct{ young, old map[string]struct{} }

const idsKept = 1 << 16

func (r *recentIDs) has(id string) bool {
	if _, ok := r.young[id]; ok {
		return true
	}
	_, ok := r.old[id]
	return ok
}

func (r *recentIDs) add(id string) {
	if r.young == nil || len(r.young) >= idsKept {
		r.young, r.old = make(map[string]struct{}), r.young
	}
	r.young[id] = struct{}{}
}
