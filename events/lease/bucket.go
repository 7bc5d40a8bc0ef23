package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	bucket = "LEASES"
	// stream is what lies under the bucket.
	stream = "KV_" + bucket

	setUpTimeout = 5 * time.Second
)

// errGone means that somebody deleted the bucket.
var errGone = errors.New("the bucket " + bucket + " is gone")

// setUp makes the bucket, or brings it to its configuration, and sees to it that
// its revisions go on after all epochs that were used.
func (l *Lease) setUp(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	l.kv, err = l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		// On file: the revisions, and so the epochs, must outlive the server.
		Bucket: bucket, TTL: l.o.TTL, Storage: jetstream.FileStorage, Replicas: max(l.o.Replicas, 1),
		Description: "who leads", History: 1,
	})
	if err != nil {
		return err
	}
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	if last >= l.o.After {
		return nil
	}
	l.log.Error("the terms' numbers went back: the bucket "+bucket+" was deleted, or restored from an older backup. They go on after the last that was used",
		"at", last, "used", l.o.After)
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(l.o.After+1)); err != nil {
		return fmt.Errorf("having the terms go on after %d: %w", l.o.After, err)
	}
	return nil
}

// mend brings the bucket back to its configuration, if somebody changed it.
func (l *Lease) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.o.TTL/4)
	defer cancel()
	s, err := l.js.Stream(ctx, stream)
	if err != nil || s.CachedInfo().Config.MaxAge == l.o.TTL {
		return // if it is away, that is noticed when it is tried for
	}
	l.log.Error("somebody changed how long leases live; changing it back", "found", s.CachedInfo().Config.MaxAge, "want", l.o.TTL)
	cfg := s.CachedInfo().Config
	cfg.MaxAge, cfg.Duplicates = l.o.TTL, min(cfg.Duplicates, l.o.TTL)
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		l.log.Error("how long leases live stays wrong", "error", err)
	}
}

// whether is errGone if the bucket is gone, and else the error that came.
func (l *Lease) whether(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.TTL/2)
	defer cancel()
	if _, gone := l.js.Stream(ctx, stream); errors.Is(gone, jetstream.ErrStreamNotFound) {
		return errGone
	}
	return err
}
