package connect

import "sync"

// Board holds a status that one goroutine writes and others read.
type Board[S any] struct {
	mu sync.Mutex
	s  S
}

// Update changes the status. What it points to stays as it is: readers have it.
func (b *Board[S]) Update(f func(*S)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.s)
}

// Read returns the status.
func (b *Board[S]) Read() S {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}
