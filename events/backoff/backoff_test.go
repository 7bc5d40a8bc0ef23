package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsDoubleUpToTheCapWithinTheirJitter(t *testing.T) {
	for _, r := range []float64{0, 0.5, 0.999} {
		b := Backoff{Min: 100 * time.Millisecond, Max: time.Second, Rand: func() float64 { return r }}
		for i, bound := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			bound *= time.Millisecond
			want := bound/2 + time.Duration(r*float64(bound/2))
			if got := b.Next(); got != want {
				t.Errorf("rand %v: wait %d is %v, want %v", r, i, got, want)
			}
		}
		b.Reset()
		if got := b.Next(); got > 100*time.Millisecond {
			t.Errorf("rand %v: the first wait after a reset is %v", r, got)
		}
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		start := time.Now()
		time.AfterFunc(time.Second, func() { cancel(gone) })
		b := Backoff{Min: time.Hour, Max: time.Hour}
		if err := b.Wait(ctx); !errors.Is(err, gone) {
			t.Errorf("got %v, want the cause", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("returned after %v", d)
		}
	})
}
