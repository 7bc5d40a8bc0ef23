package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A watch that fails is begun anew, ever more rarely while it fails each time,
// and each time the check is asked to look; it never ends the agent.
func TestWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{log: slog.New(slog.DiscardHandler), checkNow: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Duration
		start := time.Now()
		err := a.watched(ctx, "test", func(ctx context.Context) error {
			at = append(at, time.Since(start))
			switch len(at) {
			case 5:
				time.Sleep(time.Hour) // it works for a while
			case 6:
				cancel()
				<-ctx.Done()
				return ctx.Err()
			default:
				<-time.After(time.Nanosecond)
			}
			return errors.New("no buffer space available")
		})
		if err != nil {
			t.Errorf("the watch ended the agent: %v", err)
		}
		const n = time.Nanosecond
		want := []time.Duration{0, time.Second + n, 3*time.Second + 2*n, 7*time.Second + 3*n, 15*time.Second + 4*n, time.Hour + 16*time.Second + 4*n}
		for i := range want {
			if i >= len(at) || at[i] != want[i] {
				t.Fatalf("it was begun after %v, want %v", at, want)
			}
		}
		if len(a.checkNow) == 0 {
			t.Error("no check was asked for")
		}
	})
}
