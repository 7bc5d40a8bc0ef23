package connect

import (
	"context"
	"sync"
)

// Queue hands items from the goroutine that reads them to the one that works
// on them, all that wait at once, so that a storm is worked on in batches. A
// full queue stops the reader.
type Queue[T any] struct {
	count  int   // of items at most
	budget int64 // of bytes, as they were on the wire; one item may exceed it
	filled chan struct{}
	taken  chan struct{}

	mu    sync.Mutex
	items []T
	bytes int64
	err   error // why no more will come
}

// NewQueue returns a queue that holds at most count items of together at most
// budget bytes, but always one.
func NewQueue[T any](count int, budget int64) *Queue[T] {
	return &Queue[T]{count: count, budget: budget, filled: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// Put adds an item that took size bytes, when there is room for it.
func (q *Queue[T]) Put(ctx context.Context, item T, size int64) error {
	for {
		q.mu.Lock()
		if len(q.items) == 0 || len(q.items) < q.count && q.bytes+size <= q.budget {
			q.items = append(q.items, item)
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

// End says that no more items will come, and why.
func (q *Queue[T]) End(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	wake(q.filled)
}

// Filled receives when Take may have something to give.
func (q *Queue[T]) Filled() <-chan struct{} { return q.filled }

// Take returns what waits, or nothing; the error only once nothing waits any
// more.
func (q *Queue[T]) Take() ([]T, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items, q.bytes = nil, 0
	if len(items) == 0 {
		return nil, q.err
	}
	wake(q.taken)
	if q.err != nil {
		wake(q.filled)
	}
	return items, nil
}

// Len is the number of items that wait.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
