package mesos

import (
	"context"
	"sync"
)

// maxQueued bounds the records that are read but not yet taken.
const maxQueued = 4096

// queue hands records from the goroutine that reads them to the one that
// reduces them, all that wait at once, so that a storm is appended in batches.
// A full queue stops the reader: the master holds back what it has to say.
type queue struct {
	budget int64 // of bytes, as they were on the wire

	mu     sync.Mutex
	recs   []wireEvent
	bytes  int64
	err    error         // why no more will come
	filled chan struct{} // has a token when there is something to take
	taken  chan struct{} // has a token when there is room
}

func newQueue(budget int64) *queue {
	return &queue{budget: budget, filled: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// put adds a record that took size bytes, when there is room for it.
func (q *queue) put(ctx context.Context, rec wireEvent, size int64) error {
	for {
		q.mu.Lock()
		if len(q.recs) == 0 || len(q.recs) < maxQueued && q.bytes+size <= q.budget {
			q.recs = append(q.recs, rec)
			q.bytes += size
			q.mu.Unlock()
			wake(q.filled)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.taken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end says that no more records will come, and why.
func (q *queue) end(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	wake(q.filled)
}

// take returns what waits; the error only once nothing waits any more.
func (q *queue) take() ([]wireEvent, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	recs := q.recs
	q.recs, q.bytes = nil, 0
	if len(recs) > 0 {
		wake(q.taken)
		if q.err != nil {
			wake(q.filled)
		}
		return recs, nil
	}
	return nil, q.err
}

// len is the number of records that wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.recs)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
