package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	fetchMessages = 1000
	fetchBytes    = 8 << 20
	// staleWait is how long a replica may lag behind before a read of what its
	// leader holds fails.
	staleWait = 10 * time.Second
)

// Fetch reads the stored messages of a stream in order, from sequence from up
// to and including to; with a subject, only those it matches. It uses direct
// requests alone, which an auditor may make. Messages that the stream no
// longer holds are left out: the caller sees it by the sequences.
func Fetch(ctx context.Context, js jetstream.JetStream, stream, subject string, from, to uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		from = max(from, 1)
		var staleSince time.Time
		for from <= to {
			last, more, err := fetchOnce(ctx, js, stream, subject, from, to, yield)
			if err != nil {
				yield(nil, fmt.Errorf("reading stream %s from %d: %w", stream, from, err))
				return
			}
			if !more {
				return
			}
			if last >= from {
				from, staleSince = last+1, time.Time{}
				continue
			}
			// Nothing from here on: either there is nothing, or the replica that
			// answered has not yet what the leader has.
			info, err := streamInfo(ctx, js, stream)
			if err != nil {
				yield(nil, fmt.Errorf("reading stream %s from %d: %w", stream, from, err))
				return
			}
			if subject != "" || info.Config.Replicas == 1 || info.State.LastSeq < from {
				return
			}
			if staleSince.IsZero() {
				staleSince = time.Now()
			}
			if time.Since(staleSince) > staleWait {
				yield(nil, fmt.Errorf("reading stream %s from %d: nothing for %s: a replica lags behind, or the end is missing", stream, from, staleWait))
				return
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// fetchOnce makes one request and yields its messages. It returns the last
// sequence seen and whether the caller wants more.
func fetchOnce(ctx context.Context, js jetstream.JetStream, stream, subject string, from, to uint64, yield func(*jetstream.RawStreamMsg, error) bool) (last uint64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	req := directRequest{Seq: from, NextFor: subject, MaxBytes: fetchBytes, Batch: int(min(uint64(fetchMessages), to-from+1))}
	for msg, err := range getDirect(ctx, js, stream, req) {
		if err != nil && last >= from && errors.Is(err, context.DeadlineExceeded) {
			return last, true, nil // the next request goes on from here
		}
		if err != nil {
			return last, false, err
		}
		if msg == nil { // of no use to anybody: as if it were not there
			last = max(last, from-1) + 1
			continue
		}
		if msg.Sequence > to {
			return last, false, nil
		}
		last = msg.Sequence
		if !yield(msg, nil) {
			return last, false, nil
		}
	}
	return last, true, nil
}

// StreamState asks the stream's leader what it holds.
func StreamState(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.StreamState, error) {
	info, err := streamInfo(ctx, js, stream)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("asking for the state of stream %s: %w", stream, err)
	}
	return info.State, nil
}

// StreamConfig asks how a stream is set up.
func StreamConfig(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.StreamConfig, error) {
	info, err := streamInfo(ctx, js, stream)
	if err != nil {
		return jetstream.StreamConfig{}, fmt.Errorf("asking for the configuration of stream %s: %w", stream, err)
	}
	return info.Config, nil
}

func streamInfo(ctx context.Context, js jetstream.JetStream, stream string) (*jetstream.StreamInfo, error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// Last is the latest message on a subject of a stream; found is false if there
// is none. On a cluster the replica that answers may lag behind.
func Last(ctx context.Context, js jetstream.JetStream, stream, subject string) (msg *jetstream.RawStreamMsg, found bool, err error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err == nil {
		msg, err = s.GetLastMsgForSubject(ctx, subject)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the last message on %s: %w", subject, err)
	}
	return msg, true, nil
}

// Tail is a consumer of a stream's messages in order, from a sequence on, that
// lasts no longer than it is used. When the consumer is lost and another can't
// be made at once, it fails, and the caller makes a new one: the library would
// try for ever to make one of the same name, which a cluster may have given to a
// server that is down.
func Tail(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.OrderedConsumerConfig) (jetstream.MessagesContext, error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	cfg.MaxResetAttempts = 1
	cons, err := js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("following stream %s: %w", stream, err)
	}
	it, err := cons.Messages(jetstream.PullHeartbeat(tailHeartbeat), jetstream.PullExpiry(10*tailHeartbeat))
	if err != nil {
		return nil, fmt.Errorf("following stream %s: %w", stream, err)
	}
	return it, nil
}

// tailHeartbeat is how often a silent server must show that it is there.
const tailHeartbeat = time.Second

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// FirstSince is the sequence of the first message that a stream stored at or
// after a time; after all its messages, the next one's.
func FirstSince(ctx context.Context, js jetstream.JetStream, stream string, t time.Time) (uint64, error) {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	for msg, err := range getDirect(ctx, js, stream, directRequest{Batch: 1, Start: &t}) {
		if err != nil {
			return 0, fmt.Errorf("searching stream %s by time: %w", stream, err)
		}
		if msg == nil {
			return 0, fmt.Errorf("searching stream %s by time: the message that was stored then has headers that cannot be read", stream)
		}
		return msg.Sequence, nil
	}
	state, err := StreamState(ctx, js, stream)
	return state.LastSeq + 1, err
}
