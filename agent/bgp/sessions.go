package bgp

import (
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
)

// How often a peer is reported. The first change after a quiet time is
// reported at once; a peer that keeps changing ever more rarely.
const (
	firstGap = time.Second
	lastGap  = 5 * time.Minute
	// countsEvery is the time between two looks at how many prefixes a peer
	// offers, in case only that changes.
	countsEvery = time.Minute
	// patience is how long a new peer may take before it is reported as down.
	patience = 10 * time.Second
)

const established = "established"

// session is what is known of one peer, and what was said of it.
type session struct {
	name    string
	address netip.Addr
	state   string
	err     string
	// refused are the prefixes that the peer offers now and that are not
	// taken, with the reason; the engine's limit bounds how many a peer can offer.
	refused map[netip.Prefix]string
	counts  counts
	ups     uint64 // how often it was established

	changed bool
	flaps   int
	due     time.Time // no report of a change before
	gap     time.Duration
	said    counts
	// countsDue is when other counts are reported again.
	countsDue time.Time
}

// counts are prefixes: from the peer, of those taken, to the peer.
type counts struct{ received, accepted, sent int }

func newSession(name string, address netip.Addr, now time.Time) *session {
	return &session{
		name: name, address: address, state: "idle", refused: map[netip.Prefix]string{},
		changed: true, due: now.Add(patience), gap: firstGap,
	}
}

// enter notes a state, and why a session ended or was not made.
func (s *session) enter(state, err string, now time.Time) {
	up, was := state == established, s.state == established
	s.state = state
	if err != "" && !up {
		s.err = err
	}
	if up == was {
		return
	}
	if up {
		s.ups++
		s.counts = counts{}
		if s.ups == 1 {
			s.due = now // it did not need the patience
		}
	} else {
		clear(s.refused)
		s.counts = counts{}
	}
	s.changed = true
	s.flaps++
}

// report is what is to be said now, if anything is. That only the number of
// prefixes changed never holds back a change of the session itself.
func (s *session) report(now time.Time) (events.Session, bool) {
	switch {
	case s.changed && !now.Before(s.due):
		s.gap = min(4*s.gap, lastGap)
		s.due = now.Add(s.gap)
	case !s.changed && s.counts != s.said && !now.Before(s.countsDue):
	default:
		if !s.changed && now.Sub(s.due) > lastGap {
			s.gap = firstGap // it has been quiet
		}
		return events.Session{}, false
	}
	r := events.Session{
		Peer: s.name, Address: s.address, State: s.state, Error: s.err, Flaps: s.flaps,
		Received: s.counts.received, Accepted: s.counts.accepted, Sent: s.counts.sent,
	}
	s.changed, s.flaps, s.said, s.countsDue = false, 0, s.counts, now.Add(countsEvery)
	return r, true
}
