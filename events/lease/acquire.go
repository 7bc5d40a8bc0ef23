package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// sighting is a revision of the key, and when it was first seen by our clock.
type sighting struct {
	revision uint64
	since    time.Time
}

// acquire tries until the key is ours. It fails when the bucket is gone.
func (l *Lease) acquire(ctx context.Context) (*term, error) {
	every := time.NewTicker(l.o.TTL / 4)
	defer every.Stop()
	warned := false
	var seen sighting
	for {
		t, err := l.try(ctx, &seen)
		switch {
		case t != nil:
			return t, nil
		case err == nil:
			warned = false
		case errors.Is(err, errGone):
			return nil, err
		case ctx.Err() == nil && !warned:
			l.log.Warn("could not try for the lead; trying on", "error", err)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-every.C:
		}
	}
}

// try tries once. Without an error and a term somebody else holds the lease.
func (l *Lease) try(ctx context.Context, seen *sighting) (*term, error) {
	value, err := json.Marshal(holder{Name: l.o.Name, Since: time.Now().UTC()})
	if err != nil {
		return nil, fmt.Errorf("taking lease %s: %w", l.key, err)
	}
	ask, cancel := context.WithTimeout(ctx, l.o.TTL/2)
	defer cancel()
	e, err := l.kv.Get(ask, l.key)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, l.whether(ctx, err)
	}
	if err == nil {
		if e.Revision() != seen.revision {
			*seen = sighting{e.Revision(), time.Now()}
		}
		if time.Since(seen.since) < 2*l.o.TTL {
			return nil, nil
		}
	}
	begun := time.Now()
	ask, cancel = context.WithTimeout(ctx, l.o.TTL/2)
	defer cancel()
	var revision uint64
	if e == nil {
		revision, err = l.kv.Create(ask, l.key, value)
	} else {
		revision, err = l.kv.Update(ask, l.key, value, e.Revision())
	}
	var api *jetstream.APIError
	switch {
	case err == nil && time.Since(begun) >= l.o.TTL/2:
		return nil, fmt.Errorf("it took longer than %s to store it", l.o.TTL/2)
	case errors.Is(err, jetstream.ErrKeyExists), errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return nil, nil // another was faster
	case err != nil:
		return nil, l.whether(ctx, err)
	}
	if e != nil {
		l.log.Warn("took a lease that was no longer renewed but did not expire: is a NATS server's clock wrong?", "not_renewed_for", time.Since(seen.since).Round(time.Millisecond))
		l.mend(ctx)
	}
	return &term{Lease: l, epoch: revision, revision: revision, value: value, expires: begun.Add(l.o.TTL)}, nil
}
