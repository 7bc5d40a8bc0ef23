// Package mirrortest holds what the tests of both sources need: a log in
// memory, and a source that runs until its test ends.
package mirrortest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// Log is a mirror.Sink in memory that folds what it takes, once per id.
type Log struct {
	// Fail is asked before each append, if it is set.
	Fail func() error
	// Patience is how long Until waits; in a synctest bubble it costs nothing.
	Patience time.Duration
	// Taken and Cluster are for Until's conditions, and for tests in which
	// nothing appends any more.
	Taken   []events.Event
	Cluster *events.Cluster

	mu      sync.Mutex // guards Taken and Cluster, too
	seen    map[string]bool
	changed chan struct{}
}

// NewLog returns an empty log.
func NewLog() *Log {
	return &Log{Patience: 20 * time.Second, Cluster: events.NewCluster(), seen: map[string]bool{}, changed: make(chan struct{})}
}

// Append takes events as the real log does: what cannot be read back does not
// count.
func (l *Log) Append(_ context.Context, evs ...events.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Fail != nil {
		if err := l.Fail(); err != nil {
			return err
		}
	}
	for _, e := range evs {
		if l.seen[e.ID] {
			continue
		}
		l.seen[e.ID] = true
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		var back events.Event
		if err := json.Unmarshal(b, &back); err != nil {
			return err
		}
		l.Taken = append(l.Taken, back)
		l.Cluster.Apply(back)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// Folded is a copy of what the events add up to.
func (l *Log) Folded() *events.Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Cluster.Clone()
}

// Events are those that were taken.
func (l *Log) Events() []events.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.Taken)
}

// Until waits for the folded picture to satisfy ok.
func (l *Log) Until(t testing.TB, what string, ok func(*events.Cluster) bool) {
	t.Helper()
	deadline := time.After(l.Patience)
	for {
		l.mu.Lock()
		done, changed := ok(l.Cluster), l.changed
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// Run runs a source until the test ends, and checks that it then returns.
func Run(t testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done: //nolint:errcheck // why it ended is the source's own test
		case <-time.After(10 * time.Second):
			t.Error("Run did not return when its context ended")
		}
	})
}
