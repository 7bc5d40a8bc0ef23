package eventlog

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

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
	Logger          *slog.Logger
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

	state *StateMark // of the last snapshot, until a checkpoint vouches for it

	signedReports uint64 // the last report that it vouches for
	tally         tally
}

// Open opens the log of the streams that bus.EnsureStreams made.
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
	state, err := bus.StreamState(ctx, js, bus.EventsStream)
	if err != nil {
		return nil, fmt.Errorf("opening the event log: %w", err)
	}
	l.last = state.LastSeq
	if state.Msgs > 0 {
		for r, err := range l.records(ctx, state.LastSeq, state.LastSeq) {
			if err != nil {
				return nil, fmt.Errorf("opening the event log: %w", err)
			}
			l.last, l.hash = r.Seq, r.Hash()
		}
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

// Last is the sequence of the last record, 0 of an empty log.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	return state.LastSeq, err
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
