// Package lease lets one of several processes lead at a time, by a key with a
// time to live in NATS KV.
//
//	            create ──▶ held ── update every TTL/4 ──▶ held …
//	waiting ──▶ (refused while the key lives)             │ no update for TTL:
//	   ▲                                                  ▼ the key is gone
//	   └──────────────────────────────────────────── lost
//
// Who waits does not rely on the server's clock, nor on the bucket's time to
// live alone: a key that was not updated for two TTL by the waiter's own clock is
// taken over, too.
//
// A holder counts its lease as lost one TTL after it began the last update
// that succeeded, by its own clock, which is before the server can have given
// it to another. But a process can be stopped between looking at the clock and
// acting. So each term has an epoch, greater than all before, and what the
// holder writes must carry it: the streams refuse a writer of an earlier epoch
// once one of a later has begun (packages eventlog and work).
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrLost is the cause with which the context of a term ends when the lease
// could not be kept.
var ErrLost = errors.New("the lease is lost")

// DefaultTTL gives a takeover within three seconds.
const DefaultTTL = 2 * time.Second

// Options configure a Lease.
type Options struct {
	// Name says who holds it, for people.
	Name string
	// TTL must be the same for all; zero: DefaultTTL. The lease cannot be held
	// while the server takes longer than half of it to store an update.
	TTL      time.Duration
	Replicas int // of the bucket: 1, or 3 on a cluster
	// After is an epoch that was used: all that follow must be greater, also when
	// the bucket was deleted, or restored from an older backup.
	After  uint64
	Logger *slog.Logger
}

// Lease is one that this process may come to hold.
type Lease struct {
	js  jetstream.JetStream
	kv  jetstream.KeyValue
	key string
	o   Options
	log *slog.Logger
}

// holder is the lease's value, for people who look at the bucket.
type holder struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"` // by the holder's clock
}

// New makes the lease's bucket if need be. It does not yet try for the lease.
func New(ctx context.Context, js jetstream.JetStream, key string, o Options) (*Lease, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Lease{js: js, key: key, o: o, log: o.Logger}
	if err := l.setUp(ctx); err != nil {
		return nil, fmt.Errorf("setting up leases: %w", err)
	}
	return l, nil
}

// Run waits for the lease and calls fn with the term's epoch. When the lease is
// lost, fn's context ends with ErrLost as its cause; when fn has returned, Run
// waits for the lease again. Run ends when ctx does, or when fn returns during
// its term: then it gives the lease up, so that another takes over at once, and
// returns what fn returned. It also ends when the bucket is gone: New makes it
// again.
func (l *Lease) Run(ctx context.Context, fn func(ctx context.Context, epoch uint64) error) error {
	for {
		term, err := l.acquire(ctx)
		if err != nil {
			return err
		}
		l.log.Info("leading", "epoch", term.epoch)
		err = term.run(ctx, fn)
		if !errors.Is(err, ErrLost) {
			term.release()
			l.log.Info("no longer leading", "epoch", term.epoch, "error", err)
			return err
		}
		l.log.Warn("lost the lead", "epoch", term.epoch)
		l.mend(ctx) // a time to live that was shortened makes one lose it again and again
	}
}

// term is the time for which this process holds the lease.
type term struct {
	*Lease
	epoch    uint64
	revision uint64 // of the key, changes with each update
	value    []byte
	expires  time.Time // by our clock: when another may hold it
	// unsure is when the first update began of which it is not known whether it
	// was stored; zero if there is none.
	unsure time.Time
}

// run calls fn and keeps the lease meanwhile.
func (t *term) run(ctx context.Context, fn func(context.Context, uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- fn(ctx, t.epoch) }()

	every := time.NewTicker(t.o.TTL / 4)
	defer every.Stop()
	for {
		select {
		case err := <-done:
			if errors.Is(context.Cause(ctx), ErrLost) {
				return ErrLost
			}
			return err
		case <-every.C:
			if ctx.Err() == nil && !t.keep(ctx) {
				cancel(ErrLost)
			}
		}
	}
}

// keep updates the key. It is false when the lease is lost.
func (t *term) keep(ctx context.Context) bool {
	start := time.Now()
	// An update that would come back only after the end is of no use.
	ctx, cancel := context.WithDeadline(ctx, earlier(start.Add(t.o.TTL/2), t.expires))
	defer cancel()
	rev, err := t.kv.Update(ctx, t.key, t.value, t.revision)
	var api *jetstream.APIError
	switch {
	case err == nil:
		t.revision, t.expires, t.unsure = rev, start.Add(t.o.TTL), time.Time{}
		return true
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		// Another's, or our own update whose answer was lost: then the key is
		// still ours under a revision that we do not know.
		return t.recover(ctx)
	default:
		if t.unsure.IsZero() {
			t.unsure = start
		}
		return time.Now().Before(t.expires)
	}
}

// recover looks whether the key is ours after all.
func (t *term) recover(ctx context.Context) bool {
	e, err := t.kv.Get(ctx, t.key)
	if err != nil {
		return !errors.Is(err, jetstream.ErrKeyNotFound) && time.Now().Before(t.expires)
	}
	if string(e.Value()) != string(t.value) || e.Revision() < t.revision {
		return false
	}
	if e.Revision() > t.revision && !t.unsure.IsZero() {
		// Of those that we are unsure of it can only be the first: the others
		// expected the revision before it.
		t.expires = t.unsure.Add(t.o.TTL)
	}
	t.revision, t.unsure = e.Revision(), time.Time{}
	return time.Now().Before(t.expires)
}

// release removes the key if it is still ours.
func (t *term) release() {
	ctx, cancel := context.WithTimeout(context.Background(), t.o.TTL)
	defer cancel()
	if err := t.kv.Delete(ctx, t.key, jetstream.LastRevision(t.revision)); err != nil {
		t.log.Debug("could not give up the lease; it will expire", "error", err)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
