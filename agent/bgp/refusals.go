package bgp

import (
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
)

// How refused routes are reported: each once, and again with what was counted
// since; a few a second, so that a peer cannot fill the log.
const (
	refusalAgain   = 10 * time.Minute
	refusalsAtOnce = 20
	// maxRefusals bounds what is told apart; of more, a peer's are counted
	// together.
	maxRefusals = 1000
)

type refusalKey struct {
	peer   string
	prefix netip.Prefix
	reason string
}

type refusal struct {
	count int // since the last report
	due   time.Time
	seen  time.Time
}

// refusals counts the routes that peers offered and that were not taken.
type refusals struct {
	known map[refusalKey]*refusal
	queue []refusalKey      // those with a count, in the order in which they began to have one
	total map[string]uint64 // by peer
}

func newRefusals() *refusals {
	return &refusals{known: map[refusalKey]*refusal{}, total: map[string]uint64{}}
}

func (r *refusals) add(peer string, p netip.Prefix, reason string, now time.Time) {
	r.total[peer]++
	key := refusalKey{peer, p, reason}
	e := r.known[key]
	if e == nil && len(r.known) >= maxRefusals {
		key = refusalKey{peer: peer, reason: "many others; see the agent's log"}
		e = r.known[key]
	}
	if e == nil {
		e = &refusal{due: now}
		r.known[key] = e
	}
	e.seen = now
	if e.count++; e.count == 1 {
		r.queue = append(r.queue, key)
	}
}

// report hands out what is due.
func (r *refusals) report(now time.Time) (out []events.RouteRefusal) {
	var later []refusalKey
	for _, key := range r.queue {
		e := r.known[key]
		if len(out) >= refusalsAtOnce || now.Before(e.due) {
			later = append(later, key)
			continue
		}
		out = append(out, events.RouteRefusal{Peer: key.peer, Prefix: key.prefix, Reason: key.reason, Count: e.count})
		e.count, e.due = 0, now.Add(refusalAgain)
	}
	r.queue = later
	if len(r.known) >= maxRefusals {
		for key, e := range r.known {
			if e.count == 0 && now.Sub(e.seen) > refusalAgain {
				delete(r.known, key)
			}
		}
	}
	return out
}
