// Package backoff spaces out retries: each wait is longer than the one before,
// up to a cap, and random in part, so that many clients of one server that
// came back do not all return at the same moment.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives the waits between attempts. The zero value waits between 50
// and 100 ms first and between 5 and 10 s in the end. It is not safe for
// concurrent use.
type Backoff struct {
	Min  time.Duration  // upper bound of the first wait; default 100 ms
	Max  time.Duration  // upper bound of every wait; default 10 s
	Rand func() float64 // in [0,1); default math/rand/v2

	next time.Duration
}

// Next is the wait before the next attempt: between half and all of a bound
// that doubles with each call.
func (b *Backoff) Next() time.Duration {
	lowest, highest, random := b.Min, b.Max, b.Rand
	if lowest <= 0 {
		lowest = 100 * time.Millisecond
	}
	if highest <= 0 {
		highest = 10 * time.Second
	}
	if random == nil {
		random = rand.Float64
	}
	d := min(max(b.next, lowest), highest)
	b.next = min(2*d, highest)
	return d/2 + time.Duration(random()*float64(d/2))
}

// Reset makes the next wait the first one again: call it after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for Next, or until ctx ends; then it returns the cause.
func (b *Backoff) Wait(ctx context.Context) error {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
