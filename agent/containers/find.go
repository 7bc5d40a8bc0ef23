package containers

import (
	"context"
	"sync"
)

// finder lets attaches that come at the same time share one look at the Mesos
// agent: its answer grows with the host's containers, and in a burst they would
// ask for it once each.
type finder struct {
	mu      sync.Mutex
	next    *look // not begun yet: who comes now may join it
	running bool
	known   map[string]Container // of the latest look
}

type look struct {
	done chan struct{}
	err  error
}

// Find looks a container up by its id. ok is false when the agent does not
// list it. What a container is never changes, so one that was seen in the latest
// look is not asked for again; an answer "no" is always one that was asked for
// after the call.
func (c *Client) Find(ctx context.Context, id string) (found Container, ok bool, err error) {
	f := &c.finder
	f.mu.Lock()
	if found, ok := f.known[id]; ok {
		f.mu.Unlock()
		return found, true, nil
	}
	l := f.next
	if l == nil {
		l = &look{done: make(chan struct{})}
		f.next = l
	}
	if !f.running {
		f.running = true
		go c.look()
	}
	f.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
		return Container{}, false, ctx.Err()
	}
	if l.err != nil {
		return Container{}, false, l.err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	found, ok = f.known[id]
	return found, ok, nil
}

// look asks as long as somebody waits. It ends by itself: a request is bounded
// by the client's time limit.
func (c *Client) look() {
	f := &c.finder
	for {
		f.mu.Lock()
		l := f.next
		f.next = nil
		if l == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		cs, err := c.List(context.Background())
		f.mu.Lock()
		if err == nil {
			f.known = make(map[string]Container, len(cs))
			for _, c := range cs {
				f.known[c.ID] = c
			}
		}
		l.err = err
		f.mu.Unlock()
		close(l.done)
	}
}
