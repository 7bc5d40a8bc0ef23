package work

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskwall/taskwall/events/bus"
)

// AliveEvery is how often an agent says that it lives, and SilentAfter how long
// nothing is heard of it until it counts as silent: three signs may be lost.
const (
	AliveEvery  = 10 * time.Second
	SilentAfter = 35 * time.Second
)

// Alive is an agent's sign of life. It is kept nowhere and decides nothing: it is for
// people, who must see an agent that ended, hangs or is cut off.
type Alive struct {
	Version string `json:"version"`
	Rev     uint64 `json:"rev"` // applied
	// Trouble is what Applied.Trouble would say now.
	Trouble []string `json:"trouble,omitempty"`
}

// maxAlive bounds a sign of life that is read, in bytes.
const maxAlive = 64 << 10

// Alive says that the agent lives. It does not wait, and what is said may be lost.
func (r *Reporter) Alive(a Alive) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("saying that the agent of %s lives: %w", r.host, err)
	}
	if err := r.c.Tell(bus.AliveSubject(r.host), data); err != nil {
		return fmt.Errorf("saying that the agent of %s lives: %w", r.host, err)
	}
	return nil
}

// DecodeAlive reads a sign of life, and the host whose agent the server let
// publish it.
func DecodeAlive(subject string, data []byte) (host string, a Alive, err error) {
	if host, err = bus.HostOf(subject); err != nil {
		return "", a, err
	}
	if len(data) > maxAlive {
		return "", a, fmt.Errorf("decoding a sign of life of %s: %d bytes, more than %d", host, len(data), maxAlive)
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return "", a, fmt.Errorf("decoding a sign of life of %s: %w", host, err)
	}
	return host, a, nil
}
