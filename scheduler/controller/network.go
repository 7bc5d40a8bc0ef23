package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler"
)

// RoutesQuestion asks for all routes and, with From, for the ways that this
// host has to them.
type RoutesQuestion struct {
	From string `json:"from,omitempty"`
}

// Routes is the answer to SubjectRoutes.
type Routes struct {
	Seq    uint64                `json:"seq"`
	Routes []scheduler.RouteView `json:"routes"`
}

// DrainOrder asks to take traffic off a host, or to use it again.
type DrainOrder struct {
	events.Drain
	// Wait is how long to wait for the host to have applied it; nanoseconds.
	Wait time.Duration `json:"wait,omitempty"`
}

// DrainResult says what came of a DrainOrder.
type DrainResult struct {
	Seq     uint64 `json:"seq"`     // of the event in the log; 0: the host was so already
	Routing string `json:"routing"` // as in scheduler.HostView; "static": it changes nothing now
	Applied bool   `json:"applied"` // the host has reported that it did it
}

// maxReason bounds what a person may say about a drain, in bytes.
const maxReason = 1000

// sessions answers SubjectSessions.
func (c *Controller) sessions(context.Context, struct{}) (scheduler.BGPView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.BGP(), nil
}

// routes answers SubjectRoutes.
func (c *Controller) routes(_ context.Context, q RoutesQuestion) (Routes, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	routes, known := c.state.Routes(q.From)
	if !known {
		return Routes{}, fmt.Errorf("there is no host %q; taskwall status shows them", q.From)
	}
	return Routes{Seq: c.state.Seq(), Routes: routes}, nil
}

// drain answers SubjectDrain: it puts the order into the log.
func (c *Controller) drain(ctx context.Context, o DrainOrder) (DrainResult, error) {
	switch o.By = strings.TrimSpace(o.By); {
	case o.By == "":
		return DrainResult{}, errors.New("an order to drain a host needs to say who gives it")
	case len(o.By)+len(o.Reason) > maxReason:
		return DrainResult{}, fmt.Errorf("who and why together have %d bytes, at most %d are kept", len(o.By)+len(o.Reason), maxReason)
	}
	c.mu.Lock()
	h, known := c.state.HostView(o.Host)
	c.mu.Unlock()
	switch {
	case !known:
		return DrainResult{}, fmt.Errorf("there is no host %q; taskwall status shows them", o.Host)
	case (h.Drain != nil) == o.On:
		return DrainResult{Routing: h.Routing, Applied: true}, nil
	}
	now := time.Now().UTC()
	seq, err := c.appendSeq(ctx, events.Event{
		Schema: events.Schema, ID: "drain-" + nuid.Next(), Kind: events.HostDrain, Source: "operator",
		Time: now, Received: now, Drain: &o.Drain,
	})
	if err != nil {
		return DrainResult{}, fmt.Errorf("putting the order into the log: %w", err)
	}
	result := DrainResult{Seq: seq, Routing: h.Routing}
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	err = c.wait(ctx, func() bool {
		if c.settled < seq {
			return false
		}
		h, _ := c.state.HostView(o.Host)
		result.Applied = h.Routing == "static" || c.agents[o.Host].Applied >= h.Rev
		return result.Applied
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return result, err
	}
	return result, nil
}

// sessionReported takes in a host's word on a session.
func (c *Controller) sessionReported(e *events.Session) {
	c.metrics.session(e.Host, e)
	if e.State == "established" {
		c.log.Info("BGP session is up", "host", e.Host, "peer", e.Peer, "received", e.Received, "accepted", e.Accepted, "sent", e.Sent)
	} else {
		c.log.Warn("BGP session is down", "host", e.Host, "peer", e.Peer, "state", e.State, "flaps", e.Flaps, "error", e.Error)
	}
}

// refusalReported takes in a host's word on a refused route.
func (c *Controller) refusalReported(e *events.RouteRefusal) {
	c.metrics.refused(e.Host, e)
	c.log.Warn("BGP route refused", "host", e.Host, "peer", e.Peer, "prefix", e.Prefix, "reason", e.Reason, "count", e.Count)
}
