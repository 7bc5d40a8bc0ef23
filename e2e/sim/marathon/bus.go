package marathon

import "sync"

// Event is one record of the event stream.
type Event struct {
	Type string
	Data []byte // JSON on one line
}

// Tamper decides what a stream gets in place of an event; streams count from
// 0 in the order of attaching.
type Tamper func(stream int, e Event) []Event

// bus passes events to the attached streams. Nothing is kept for later.
type bus struct {
	limit  int // outstanding events per stream
	tamper Tamper

	mu   sync.Mutex
	subs []*subscription
	next int
	slow int     // streams that were cut because their client was too slow
	log  []Event // everything published, for tests
}

type subscription struct {
	number int
	types  map[string]bool // nil: all

	mu     sync.Mutex
	queue  []Event
	wake   chan struct{}
	cut    chan struct{}
	cutter sync.Once
}

func (b *bus) publish(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, e)
	for _, s := range b.subs {
		events := []Event{e}
		if b.tamper != nil {
			events = b.tamper(s.number, e)
		}
		for _, e := range events {
			if s.put(e, b.limit) {
				b.slow++
			}
		}
	}
}

// put queues an event. A stream with too many outstanding, of whatever type,
// is cut (CLUSTER-API 1.2); true if this did it.
func (s *subscription) put(e Event, limit int) (cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= limit {
		s.cutter.Do(func() { close(s.cut); cut = true })
		return cut
	}
	s.queue = append(s.queue, e)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return false
}

// take returns what is queued; filtered events are gone.
func (s *subscription) take() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	s.queue = nil
	if s.types == nil {
		return batch
	}
	var out []Event
	for _, e := range batch {
		if s.types[e.Type] {
			out = append(out, e)
		}
	}
	return out
}

func (b *bus) attach(types map[string]bool) *subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &subscription{number: b.next, types: types, wake: make(chan struct{}, 1), cut: make(chan struct{})}
	b.next++
	b.subs = append(b.subs, s)
	return s
}

func (b *bus) detach(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.subs {
		if o == s {
			b.subs = append(b.subs[:i:i], b.subs[i+1:]...)
			return
		}
	}
}

// cutAll breaks every stream.
func (b *bus) cutAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		s.cutter.Do(func() { close(s.cut) })
	}
}

func (b *bus) published() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Event(nil), b.log...)
}

// SlowStreams is how many streams were cut because their client did not keep up.
func (m *Marathon) SlowStreams() int {
	m.bus.mu.Lock()
	defer m.bus.mu.Unlock()
	return m.bus.slow
}
