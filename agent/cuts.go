package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/verdict"
	"github.com/taskwall/taskwall/events/work"
)

// tracking is the kernel's connection tracking.
type tracking interface {
	Flows(addrs ...netip.Addr) ([]conntrack.Flow, error)
	Cut([]conntrack.Flow) (int, error)
	Forget(addrs ...netip.Addr) error
	Usage() (conntrack.Usage, error)
	Close() error
}

// cut is a look at connections that a change may have denied, and the report
// that waits for it.
type cut struct {
	suspects
	court *court // nil when there is no suspect
	// applied is reported once the connections are cut; nil: nothing is. An
	// item that denies nothing may wait here too, so that reports keep their order.
	applied *work.Applied
	started time.Time // when the item came
}

// cuts are the looks that wait for the one under way: to find connections among
// many takes the kernel some tens of milliseconds, in which the next items are
// applied. What came meanwhile is looked for together.
//
//	take ── rules, sets ──▶ kernel ── order ──▶ cuts ─▶ judge ─▶ kernel ─▶ report
//
// A change waits for the look before it no longer than it would have
// waited to be applied, had the look been a part of that.
type cuts struct {
	mu      sync.Mutex
	queue   []cut
	working bool // on what it took from the queue
	wake    chan struct{}
}

// order has a change's connections looked for and then reported. It waits for
// neither.
func (a *Agent) order(c cut) {
	q := &a.cuts
	q.mu.Lock()
	if c.empty() && !q.working && len(q.queue) == 0 {
		q.mu.Unlock()
		a.answer(*c.applied)
		return
	}
	q.queue = append(q.queue, c)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// idle says that no look waits or is under way.
func (q *cuts) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.working && len(q.queue) == 0
}

func (q *cuts) all() []cut {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.queue
	q.queue, q.working = nil, len(all) > 0
	return all
}

// cutting takes orders until done, and those that came until then.
func (a *Agent) cutting(done <-chan struct{}) {
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-a.cuts.wake:
		}
		for all := a.cuts.all(); len(all) > 0; all = a.cuts.all() {
			a.cutAll(all)
		}
	}
}

// cutAll looks once for all orders, judges by the latest of them, and reports
// each with the connections that it was the first to suspect.
func (a *Agent) cutAll(all []cut) {
	var of suspects
	var c *court
	for _, one := range all {
		of.join(one.suspects)
		if one.court != nil {
			c = one.court
		}
	}
	n, err := 0, error(nil)
	var denied []conntrack.Flow
	if !of.empty() {
		denied, err = a.denied(of, c)
		if err == nil {
			n, err = a.flows.Cut(denied)
		}
		if err != nil {
			a.log.Error("connections that no policy allows any more could not all be cut; it will be tried again", "error", err)
			a.again.join(of, time.Now())
		}
	}
	a.cutCount.Add(uint64(n))
	a.sayCut(denied)
	for _, one := range all {
		if one.applied == nil {
			continue
		}
		if !one.empty() {
			one.applied.Took = time.Since(one.started)
			if err != nil {
				one.applied.Failed = append(one.applied.Failed, work.Failure{Key: "tracked connections", Error: err.Error()})
			}
			mine := 0
			denied = slices.DeleteFunc(denied, func(f conntrack.Flow) bool {
				is := one.names(f)
				if is {
					mine++
				}
				return is
			})
			one.applied.Cut = min(mine, n) // some may have ended by themselves
			n -= one.applied.Cut
		}
		a.answer(*one.applied)
	}
}

// denied finds the suspects' connections that the court denies.
func (a *Agent) denied(of suspects, c *court) ([]conntrack.Flow, error) {
	var addrs []netip.Addr // none: of everyone
	if !of.everyone {
		addrs = slices.SortedFunc(maps.Keys(of.addrs), netip.Addr.Compare)
	}
	flows, err := a.flows.Flows(addrs...)
	if err != nil || len(flows) == 0 {
		return nil, err
	}
	own, err := a.host.Addresses()
	if err != nil {
		return nil, err
	}
	s := session{c, own, verdict.Of(c.sets)}
	return slices.DeleteFunc(flows, func(f conntrack.Flow) bool { return !s.denies(f) }), nil
}

func (a *Agent) sayCut(denied []conntrack.Flow) {
	const show = 20
	for i, f := range denied {
		if i == show {
			a.log.Info("connections cut, more of them", "count", len(denied)-show)
			break
		}
		a.log.Info("connection cut: no policy allows it any more", "connection", f.String())
	}
}

// unshare gives the picture sets of its own where an item changes what a court
// may still judge by.
func (a *Agent) unshare(it *work.Item) {
	if a.cuts.idle() {
		return
	}
	for _, e := range it.Members {
		if s := a.state.Sets[e.ID]; s != nil {
			own := *s
			own.Members = maps.Clone(s.Members)
			a.state.Sets[e.ID] = &own
		}
	}
}

// secondLook is for connections that the first could not see: a packet that
// passed the old rules in the very moment that they changed, and was tracked only
// after the look. It is also for a look that failed.
type secondLook struct {
	mu    sync.Mutex
	of    suspects
	since time.Time
}

const secondLookAfter = time.Second

func (l *secondLook) join(s suspects, now time.Time) {
	if s.empty() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of.join(s)
	l.since = now
}

// due takes what is to be looked at again.
func (l *secondLook) due(now time.Time) (s suspects) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of.empty() || now.Sub(l.since) < secondLookAfter {
		return suspects{}
	}
	s, l.of = l.of, suspects{}
	return s
}

func (a *Agent) lookAgain() {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if s := a.again.due(time.Now()); !s.empty() {
		a.order(cut{suspects: s, court: a.court()})
	}
}
