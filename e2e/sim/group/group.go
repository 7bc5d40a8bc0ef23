// Package group waits for goroutines of a server that still takes requests
// while it is being closed. A sync.WaitGroup must not see an Add from zero
// beside a Wait; here what comes after the end is refused instead.
package group

import "sync"

// Group is a set of goroutines. Its zero value is empty and open.
type Group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// Enter counts the calling goroutine in until its Leave. It refuses once the
// group is closed.
func (g *Group) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

// Leave ends what Enter began.
func (g *Group) Leave() { g.wg.Done() }

// Go runs f in a goroutine of the group. In a closed group it does nothing.
func (g *Group) Go(f func()) {
	if !g.Enter() {
		return
	}
	go func() {
		defer g.Leave()
		f()
	}()
}

// Close refuses new goroutines and waits for those that run.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
