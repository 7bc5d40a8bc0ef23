package main

import (
	"context"
	"testing"
)

// Who is interrupted has not got an answer, least of all a yes.
func TestAnInterruptedQuestionIsNoYes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, args := range [][]string{
		{"status", "--nats-url", "nats://127.0.0.1:1"},
		{"audit", "verify", "--nats-url", "nats://127.0.0.1:1"},
		{"policy", "test", "x.yaml", "--nats-url", "nats://127.0.0.1:1"},
	} {
		if code := run(ctx, args); code != exitFailure {
			t.Errorf("%v: exit status %d, want %d", args, code, exitFailure)
		}
	}
}
