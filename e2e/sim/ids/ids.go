// Package ids makes the identifiers of the simulated cluster: random ones that
// are the same in each run with the same seed.
package ids

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// Source makes ids. It is safe for concurrent use; ids drawn concurrently are
// then only as reproducible as the order of the draws.
type Source struct {
	mu  sync.Mutex
	rng *rand.Rand
}

// New starts a source from a seed.
func New(seed uint64) *Source {
	return &Source{rng: rand.New(rand.NewPCG(seed, 0x7461736b77616c6c))}
}

// Bytes is a random UUID of version 4.
func (s *Source) Bytes() []byte { return s.uuid(4) }

// UUID is a version 4 UUID in text: a Mesos container's id.
func (s *Source) UUID() string { return text(s.uuid(4)) }

// TimeUUID looks like a version 1 UUID in text: a Marathon instance's id.
func (s *Source) TimeUUID() string { return text(s.uuid(1)) }

// IntN is a random number below n.
func (s *Source) IntN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

// Shuffle is rand.Shuffle.
func (s *Source) Shuffle(n int, swap func(i, j int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rng.Shuffle(n, swap)
}

func (s *Source) uuid(version byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return b
}

func text(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
