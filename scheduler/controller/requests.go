package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events"
)

// status answers SubjectStatus.
func (c *Controller) status(ctx context.Context, _ struct{}) (Status, error) {
	last, err := c.cfg.Log.Last(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("finding the end of the log: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, last)
	st := Status{
		View: c.state.View(), Version: c.cfg.Version, Log: LogStatus{Last: c.last, Folded: c.settled, Keeping: c.keeping},
		Controllers: c.controllers(time.Now()), Agents: c.agentsNow(time.Now()),
	}
	st.Since = st.Controllers[0].Since
	for _, s := range c.sources {
		st.Sources = append(st.Sources, s.Status())
	}
	return st, nil
}

// policy answers SubjectPolicy.
func (c *Controller) policy(context.Context, struct{}) (Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Policy{Seq: c.state.Seq(), Resources: c.state.Resources(), Commits: c.state.Commits()}, nil
}

// apply answers SubjectApply: it checks the change against the policies in
// force, puts it into the log, and waits for the hosts as long as it was asked.
func (c *Controller) apply(ctx context.Context, req ApplyRequest) (ApplyResult, error) {
	if req.Change.Author == "" {
		return ApplyResult{}, errors.New("a policy change needs an author")
	}
	if len(req.Change.Put)+len(req.Change.Delete) == 0 {
		return ApplyResult{}, errors.New("the policy change is empty: nothing to put or delete")
	}
	if err := Fits(c.cfg.NATS, req.Change); err != nil {
		return ApplyResult{}, err
	}
	c.mu.Lock()
	err := c.state.CheckPolicy(req.Change)
	c.mu.Unlock()
	if err != nil {
		return ApplyResult{}, err
	}
	now := time.Now().UTC()
	seq, err := c.appendSeq(ctx, events.Event{
		Schema: events.Schema, ID: "policy-" + nuid.Next(), Kind: events.PolicyApply,
		Source: "policy", Time: now, Received: now, Policy: &req.Change,
	})
	if err != nil {
		return ApplyResult{}, fmt.Errorf("putting the policy change into the log: %w", err)
	}
	result := ApplyResult{Seq: seq, Time: now, Hosts: map[string]time.Duration{}}
	for _, r := range req.Change.Put {
		result.Changed = append(result.Changed, "put "+r.String())
	}
	for _, k := range req.Change.Delete {
		result.Changed = append(result.Changed, "delete "+k.String())
	}
	return result, c.await(ctx, &result, req.Wait)
}

// await waits until the change is folded and every host that it concerns has
// reported its item as applied, or the time is over.
func (c *Controller) await(ctx context.Context, result *ApplyResult, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if i := slices.IndexFunc(c.changes, func(p policyChange) bool { return p.seq == result.Seq }); i >= 0 {
			open := 0
			for host, rev := range c.changes[i].revs {
				if c.agents[host].Applied < rev {
					open++
					result.Hosts[host] = 0
				} else if result.Hosts[host] == 0 {
					result.Hosts[host] = c.agents[host].Since.Sub(result.Time)
				}
			}
			if open == 0 {
				return nil
			}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return nil // the answer says which hosts are missing
		}
	}
}
