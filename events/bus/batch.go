package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// MaxBatch is how many messages one atomic batch can hold (the server's limit).
const MaxBatch = 1000

// PublishAtomic stores all messages or none, in order and without others in
// between, and returns the stream sequence of the last. (A server whose storage
// ends in the middle keeps the first of them, and does not answer.) Expectations are set
// as headers (Nats-Expected-…) by the caller. A failed expectation is
// ErrFenced, a message id that is stored already ErrDuplicate. After any other
// error it is not known whether the messages were stored.
func PublishAtomic(ctx context.Context, js jetstream.JetStream, msgs []*nats.Msg) (uint64, error) {
	if len(msgs) == 0 || len(msgs) > MaxBatch {
		return 0, fmt.Errorf("publishing a batch of %d messages: must be 1 to %d", len(msgs), MaxBatch)
	}
	ctx, cancel := Timeout(ctx)
	defer cancel()
	if len(msgs) == 1 { // saves the server the staging of a batch
		ack, err := js.PublishMsg(ctx, msgs[0], jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, publishError(err)
		}
		if ack.Duplicate {
			return 0, ErrDuplicate
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, js, msgs, jetstreamext.BatchFlowControl{})
	if errors.Is(err, context.DeadlineExceeded) {
		return 0, fmt.Errorf("no word within %s that %d messages are stored; a server that is full, or very slow, does not answer: %w", requestTimeout, len(msgs), err)
	}
	if err != nil {
		return 0, publishError(err)
	}
	return ack.Sequence, nil
}

// PublishPipelined stores messages in order without waiting for each, and
// returns when all are acknowledged. Unlike PublishAtomic it may store some
// and not others; the errors are the same.
func PublishPipelined(ctx context.Context, js jetstream.JetStream, msgs []*nats.Msg) error {
	if len(msgs) == 1 {
		_, err := PublishAtomic(ctx, js, msgs)
		return err
	}
	ctx, cancel := Timeout(ctx)
	defer cancel()
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	var failed error
	for _, msg := range msgs {
		f, err := js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0)) // a retry would change the order
		if err != nil {
			failed = publishError(err)
			break
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			if failed == nil {
				failed = publishError(err)
			}
		case <-ctx.Done():
			if failed == nil {
				failed = context.Cause(ctx)
			}
			return failed
		}
	}
	return failed
}

func publishError(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence:
			return fmt.Errorf("%w (%s)", ErrFenced, api.Description)
		case jetstreamext.JSErrCodeBatchPublishDuplicateMsgID:
			return ErrDuplicate
		}
	}
	return err
}
