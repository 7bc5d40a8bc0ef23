package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// TestItemsThatTheServerLostAreMadeAgain: a server that writes items behind lost
// the last of them, which it had acknowledged: the one that was killed, or whose
// disk was full. They are published again, whoever leads next, so that the record
// has no gap.
func TestItemsThatTheServerLostAreMadeAgain(t *testing.T) {
	for name, every := range map[string]uint64{"folded all along": 1000, "from a snapshot that is ahead": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			a, stopA := p.start("a", every)
			resign := p.lead(a, p.newTerm(1))
			p.populate(a)
			for n := range 4 {
				p.say(a, webTask(n))
			}
			p.until("all published", func() bool { return settled(a) == p.status().Log.Last && p.rev("h1") == 5 })
			published := len(p.items())
			if every == 1 {
				cause, err := work.LastCause(t.Context(), p.conn.JS)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				p.until("a snapshot after the last item", func() bool {
					n++ // one may be left out while another is on its way
					p.say(a, events.Event{ID: fmt.Sprint("again", n), Kind: events.FrameworkPut, Framework: &events.Framework{ID: "other", Name: fmt.Sprint(n)}})
					seq, _, ok, err := a.cfg.Log.LatestSnapshot(t.Context(), math.MaxUint64)
					return err == nil && ok && seq >= cause
				})
			}
			resign()
			next, stop := a, stopA
			if every == 1 {
				stopA()
			}
			state, err := bus.StreamState(t.Context(), p.conn.JS, bus.WorkStream)
			if err != nil {
				t.Fatal(err)
			}
			p.restore(bus.WorkStream, state.LastSeq-2)
			if n := len(p.items()); n != published-2 {
				t.Fatalf("%d of %d items are left", n, published)
			}
			if every == 1 {
				next, stop = p.start("b", every)
			}
			defer stop()
			epoch := uint64(2)
			term := p.newTerm(epoch)
			if every > 1 {
				if err := next.Lead(t.Context(), term); !errors.Is(err, errItemsLost) {
					t.Fatalf("who had published them leads: %v", err)
				}
				p.until("the fold to begin again", func() bool {
					next.mu.Lock()
					defer next.mu.Unlock()
					return len(next.sent) == 0 && next.state.Seq() == next.last && next.broken == nil
				})
				epoch++
				term = p.newTerm(epoch)
			}
			resign = p.background(func(ctx context.Context) error { return next.Lead(ctx, term) }, work.ErrGap)
			p.untilLeads(epoch)
			p.until("what was lost", func() bool { return len(p.items()) == published })

			// And while somebody leads: a reconnect is the sign.
			if state, err = bus.StreamState(t.Context(), p.conn.JS, bus.WorkStream); err != nil {
				t.Fatal(err)
			}
			p.restore(bus.WorkStream, state.LastSeq-1)
			term.Publisher.(*work.Publisher).Doubt()
			p.say(next, webTask(10))
			p.until("the end of the term", func() bool { return !next.Leads() })
			resign()
			p.until("the fold to begin again", func() bool {
				next.mu.Lock()
				defer next.mu.Unlock()
				return len(next.sent) == 0 && next.state.Seq() == next.last && next.broken == nil
			})
			defer p.lead(next, p.newTerm(epoch+1))()
			p.until("all again", func() bool { return len(p.items()) == published+1 })
			p.replay()
		})
	}
}
