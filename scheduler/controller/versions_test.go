package controller

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
)

// later writes a record as a controller of a later version does.
func (p *place) later(text string) {
	p.t.Helper()
	ctx := p.t.Context()
	state, err := bus.StreamState(ctx, p.conn.JS, bus.EventsStream)
	if err != nil {
		p.t.Fatal(err)
	}
	for msg, err := range bus.Fetch(ctx, p.conn.JS, bus.EventsStream, "", state.LastSeq, state.LastSeq) {
		if err != nil {
			p.t.Fatal(err)
		}
		last := eventlog.RecordOf(msg)
		if _, err := p.conn.JS.PublishMsg(ctx, &nats.Msg{Subject: bus.EventsSubject, Data: []byte(text), Header: nats.Header{
			"Taskwall-Prev": {last.Hash().String()}, "Taskwall-Writer": {"later"}, bus.EpochHeader: {strconv.FormatUint(last.Epoch, 10)},
		}}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestAnOlderVersionDoesNotLead: a controller of a later version has written
// what this one does not know. This one must neither lead, nor take the lead from
// one that can, nor write anything; it leads again when the log was put right.
func TestAnOlderVersionDoesNotLead(t *testing.T) {
	for name, text := range map[string]string{
		"a kind":   `{"v":1,"id":"x","kind":"sun.rises","source":"s","time":"2026-11-29T00:00:00Z","received":"2026-11-29T00:00:00Z"}`,
		"a schema": `{"v":2,"id":"x","kind":"host.gone","source":"s","time":"2026-11-29T00:00:00Z","received":"2026-11-29T00:00:00Z","gone":{"key":"k"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			first, end := p.term(1, 1000)
			p.populate(first)
			p.until("all published", func() bool { return settled(first) == p.status().Log.Last })
			end()
			before, err := first.cfg.Log.Last(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c, stop := p.start("old", 1000)
			defer stop()
			p.until("the fold", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.state.Seq() == before
			})
			if err := c.CanLead(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.later(text)
			broken := func() error { c.mu.Lock(); defer c.mu.Unlock(); return c.broken }
			p.until("the fold to break", func() bool { return broken() != nil })
			term := p.newTerm(2)
			if err := c.Lead(t.Context(), term); !errors.Is(err, eventlog.ErrInvalid) || !strings.Contains(err.Error(), "this program knows") && !strings.Contains(err.Error(), "unknown kind") {
				t.Errorf("leading ended with %v", err)
			}
			if last, err := c.cfg.Log.Last(t.Context()); err != nil || last != before+1 {
				t.Errorf("the log ends at %d, %v", last, err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := c.CanLead(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("it can lead: %v", err)
			}
			p.restore(bus.EventsStream, before)
			if err := c.CanLead(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.lead(c, p.newTerm(3))()
		})
	}
}
