package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// subjectControllers is where every controller announces itself: a
// Peer as JSON.
const subjectControllers = "taskwall.controllers"

const (
	// announceEvery is how long a follower may wait for the leader's word that
	// something is published, and so how far it is behind.
	announceEvery = 250 * time.Millisecond
	// forgetAfter is when a controller that says nothing is no longer shown.
	forgetAfter = time.Minute
	// maxOthers bounds how many are remembered.
	maxOthers = 64
)

// Peer is one controller.
type Peer struct {
	ID      string    `json:"id"` // of the process
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Epoch is that of the term if it leads, and Since when that began.
	Epoch uint64    `json:"epoch,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Folded is the last entry that it has folded; Settled the last of which
	// everything is published.
	Folded  uint64    `json:"folded"`
	Settled uint64    `json:"settled"`
	Heard   time.Time `json:"heard"` // when it last announced itself, by the asked controller's clock
}

// self is this controller. The lock is held.
func (c *Controller) self(now time.Time) Peer {
	s := Peer{
		ID: c.id, Name: c.cfg.Name, Version: c.cfg.Version, Started: c.started,
		Folded: c.state.Seq(), Settled: c.settled, Heard: now.UTC(),
	}
	if c.term != nil {
		s.Epoch, s.Since = c.term.Epoch, c.term.since
	}
	return s
}

// announce says, again and again, that this controller is there and how far it
// is.
func (c *Controller) announce(ctx context.Context) error {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		c.mu.Lock()
		self := c.self(time.Now())
		c.metrics.lag(c.last, c.settled, c.term != nil)
		c.metrics.sessionsNow(c.state.Sessions())
		c.mu.Unlock()
		body, err := json.Marshal(self)
		if err != nil {
			return fmt.Errorf("announcing this controller: %w", err)
		}
		_ = c.cfg.NATS.Publish(subjectControllers, body) // while it is away nobody listens
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// endShort is how many times in a row, a second apart, the log may seem to end before
// what was folded: a replica that has just begun to lead may need a moment.
const endShort = 4

// watchEnd looks how far the log is, for who asks for the lag, and whether it has
// lost its end: who follows it is not told when it was replaced by a shorter one.
func (c *Controller) watchEnd(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	short := 0
	for {
		c.mu.Lock()
		state, folded := c.state, c.state.Seq()
		c.mu.Unlock()
		last, err := c.cfg.Log.Last(ctx)
		c.mu.Lock()
		switch {
		case err != nil: // it is asked again soon
		case c.state != state: // this may be of a log that was longer
			short = 0
		case last < folded:
			if short++; short == endShort {
				c.foldAgain(fmt.Errorf("record %d was folded, and the log ends with record %d: %w", folded, last, errReplaced))
				short = 0
			}
		default:
			c.last, short = max(c.last, last), 0
		}
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// listen hears the other controllers, until ctx ends.
func (c *Controller) listen(ctx context.Context) error {
	sub, err := c.cfg.NATS.Subscribe(subjectControllers, func(msg *nats.Msg) {
		var other Peer
		if err := json.Unmarshal(msg.Data, &other); err != nil {
			c.log.Warn("passing over an announcement that is none", "error", err)
			return
		}
		c.hear(other, time.Now())
	})
	if err != nil {
		return fmt.Errorf("listening to the other controllers: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // fails only when the connection is closed already
	return context.Cause(ctx)
}

func (c *Controller) hear(other Peer, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other.ID == c.id {
		c.hearing.heardMyself(now)
		return
	}
	other.Heard = now.UTC()
	maps.DeleteFunc(c.others, func(_ string, o Peer) bool { return now.Sub(o.Heard) > forgetAfter })
	if _, known := c.others[other.ID]; known || len(c.others) < maxOthers {
		c.others[other.ID] = other
	}
	// What a leader of the past says late is as true as it was: its items were
	// stored before the stream began to refuse it.
	if other.Epoch != 0 && other.Settled > c.said {
		c.said = other.Settled
		c.wake()
	}
}

// controllers are all that are known, the leader first. The lock is held.
func (c *Controller) controllers(now time.Time) []Peer {
	all := []Peer{c.self(now)}
	for _, o := range c.others {
		if now.Sub(o.Heard) <= forgetAfter {
			all = append(all, o)
		}
	}
	slices.SortFunc(all[1:], func(a, b Peer) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return all
}
