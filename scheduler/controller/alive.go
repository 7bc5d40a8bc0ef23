package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// Agents say that they live (work.Alive) on plain subjects, to every controller
// at once: who takes over has heard them all along. It is for people only: nothing
// of it goes into the log or the fold.
//
// Silence counts only while this controller would hear: it listens to its own
// announcements, too.

const (
	// deafAfter is how long a controller has not heard itself when it takes its
	// own connection to be the one that is gone, or itself to have stood still.
	deafAfter = 5 * time.Second
	// maxSaid bounds the hosts that one look names in the log.
	maxSaid = 20
	// reportFirst is how long a sign of life does not change the trouble that a
	// report has brought: it may have been sent before that.
	reportFirst = 5 * time.Second
)

// watchEvery is how often it looks who is silent. Tests look by themselves.
var watchEvery = 5 * time.Second

// hearing is what this controller has heard of agents, and whether it hears.
type hearing struct {
	since time.Time       // it has heard without a gap
	last  time.Time       // it heard itself
	said  map[string]bool // silent hosts of which the log says so
}

// hearAgents takes in the agents' signs of life, until ctx ends.
func (c *Controller) hearAgents(ctx context.Context) error {
	sub, err := c.cfg.NATS.Subscribe(bus.AllAlive, func(msg *nats.Msg) {
		host, a, err := work.DecodeAlive(msg.Subject, msg.Data)
		if err != nil {
			c.log.Warn("passing over a sign of life that is none", "error", err)
			return
		}
		c.agentLives(host, a, time.Now())
	})
	if err != nil {
		return fmt.Errorf("listening to the agents: %w", err)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.mu.Lock()
			c.lookForSilent(time.Now())
			c.mu.Unlock()
		case <-ctx.Done():
			_ = sub.Unsubscribe() // fails only when the connection is closed already
			return context.Cause(ctx)
		}
	}
}

// heardMyself says that what is published arrives here. The lock is held.
func (h *hearing) heardMyself(now time.Time) {
	if now.Sub(h.last) > deafAfter {
		h.since = now
	}
	h.last = now
}

// agentLives takes in a sign of life. It also says what a controller that has
// just begun to lead cannot know from the reports, which another one read.
func (c *Controller) agentLives(host string, a work.Alive, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.state.HostState(host); !known {
		return
	}
	st := c.agents[host]
	st.Heard, st.Version = now.UTC(), a.Version
	if a.Rev > st.Applied {
		st.Applied, st.Took, st.Since, st.Digest, st.Failed = a.Rev, 0, st.Heard, "", nil
		c.wake()
	}
	if now.Sub(st.told) > reportFirst {
		c.troubled(host, st.Trouble, a.Trouble)
		st.Trouble = a.Trouble
	}
	c.agents[host] = st
}

// troubled says in the log and the metrics what is wrong on a host now. The lock
// is held.
func (c *Controller) troubled(host string, was, is []string) {
	for _, t := range is {
		if c.term != nil && !slices.Contains(was, t) {
			c.log.Error("something is wrong on a host", "host", host, "trouble", t)
		}
	}
	c.metrics.trouble(host, len(is))
}

// silent says for how long nothing was heard of an agent that should be heard; zero
// when it is not silent. The lock is held.
func (c *Controller) silent(host string, now time.Time) time.Duration {
	if now.Sub(c.hearing.last) > deafAfter {
		return 0
	}
	since := c.agents[host].Heard
	if since.Before(c.hearing.since) {
		since = c.hearing.since
	}
	d := now.Sub(since)
	if d <= work.SilentAfter {
		return 0 // nearly all, nearly always
	}
	if state, _ := c.state.HostState(host); state != "ready" {
		return 0
	}
	return d
}

// lookForSilent counts the silent hosts, and says in the leader's log which became
// so, and which no longer are. The lock is held.
func (c *Controller) lookForSilent(now time.Time) {
	if now.Sub(c.hearing.last) > deafAfter {
		return
	}
	silent := map[string]bool{}
	for _, host := range c.state.HostNames() {
		if c.silent(host, now) > 0 {
			silent[host] = true
		}
	}
	c.metrics.silentNow(len(silent))
	was := c.hearing.said
	if c.term == nil {
		c.hearing.said = nil
		return
	}
	c.hearing.said = silent
	began, ended := without(silent, was), without(was, silent)
	for _, host := range began[:min(len(began), maxSaid)] {
		c.log.Error("nothing is heard of the agent of a host: what is in its kernel stays in force, changes do not reach it",
			"host", host, "heard", c.agents[host].Heard)
	}
	for _, host := range ended[:min(len(ended), maxSaid)] {
		c.log.Info("the agent of a host is heard again", "host", host)
	}
	if len(began) > maxSaid || len(ended) > maxSaid {
		c.log.Error("and more hosts became silent, or are heard again", "silent", len(silent), "began", len(began), "ended", len(ended))
	}
}

// without are the hosts that are in one set and not in another, sorted.
func without(hosts, others map[string]bool) (left []string) {
	for host := range hosts {
		if !others[host] {
			left = append(left, host)
		}
	}
	slices.Sort(left)
	return left
}

// agentsNow is what is known of the hosts' agents, with who is silent. The lock
// is held.
func (c *Controller) agentsNow(now time.Time) map[string]AgentStatus {
	all := maps.Clone(c.agents)
	for _, host := range c.state.HostNames() {
		if d := c.silent(host, now); d > 0 {
			st := all[host]
			st.Silent = d
			all[host] = st
		}
	}
	return all
}
