package agent

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events"
	"golang.org/x/sync/errgroup"
)

// departure is an attachment that is closed, and whose interface and tracked
// connections are still to be removed. Its endpoint is claimed meanwhile.
type departure struct {
	at      *attachment
	why     string
	started time.Time
	release func()
}

// departures waits for nobody: to remove an interface takes the kernel some
// 20 ms, in which it waits for its own readers, and so does a walk of the
// connections. What came meanwhile is removed together.
type departures struct {
	mu    sync.Mutex
	queue []departure
	wake  chan struct{}
}

func (d *departures) add(one departure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, one)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *departures) all() []departure {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.queue
	d.queue = nil
	return all
}

// leave removes what departs until the context ends, and then what departed
// until then.
func (a *Agent) leave(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			a.depart(a.leaving.all())
			return nil
		case <-a.leaving.wake:
			a.depart(a.leaving.all())
		}
	}
}

// depart removes attachments that are closed, and says so. One that could not
// be removed stays in the records, and the sweep tries again.
func (a *Agent) depart(ds []departure) {
	ats := make([]*attachment, len(ds))
	for i, d := range ds {
		ats[i] = d.at
	}
	all := a.clear(ats...)
	for _, d := range ds {
		err := all
		if all != nil && len(ds) > 1 {
			err = a.clear(d.at) // one may be at fault, and keeps none of the others
		}
		a.departed(d, err)
		d.release()
	}
}

func (a *Agent) departed(d departure, err error) {
	at := d.at
	if err != nil {
		a.log.Error("what is left of a task could not be removed; it will be tried again", "task", at.Endpoint, "iface", at.Veth, "error", err)
		return
	}
	took := time.Since(d.started)
	a.log.Info("detached", "task", at.Endpoint, "address", at.Address, "iface", at.Veth, "because", d.why, "took", took)
	a.report.wiring(events.Wiring{Endpoint: at.Endpoint, Address: at.Address.String(), State: events.Detached, Took: took})
}

// shut takes the firewall's word for an attachment back: its interface carries
// nothing from here on. The caller has claimed the endpoint.
func (a *Agent) shut(at *attachment) error {
	// An item that closes or changes the endpoint must not wire it again: what it
	// put into the sets then, nobody would take out.
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.fw.Unwire(firewall.Wire{Address: at.Address, Iface: at.Veth}); err != nil {
		return err
	}
	at.Wired, at.shut = false, true
	return nil
}

// clear removes what is left of attachments that are shut. What fails can be
// tried again.
func (a *Agent) clear(ats ...*attachment) error {
	if len(ats) == 0 {
		return nil
	}
	if err := a.takeAway(ats...); err != nil {
		return err
	}
	step("interface gone")
	for _, at := range ats {
		if err := at.forget(a.cfg.StateDir); err != nil {
			return err
		}
		step("attachment off disk")
		a.mu.Lock()
		if a.attachments[at.Endpoint] == at {
			delete(a.attachments, at.Endpoint)
		}
		a.mu.Unlock()
	}
	return nil
}

// takeAway removes what the kernel still has of attachments that are shut.
func (a *Agent) takeAway(ats ...*attachment) error {
	veths, addrs := make([]string, len(ats)), make([]netip.Addr, len(ats))
	for i, at := range ats {
		veths[i], addrs[i] = at.Veth, at.Address
	}
	var g errgroup.Group
	g.Go(func() error { return a.host.Detach(veths...) })
	g.Go(func() error { return a.flows.Forget(addrs...) })
	return g.Wait()
}

// resumeLeaving goes on with what an earlier process had shut and not removed.
func (a *Agent) resumeLeaving(ctx context.Context) {
	a.mu.Lock()
	var all []*attachment
	for _, at := range a.attachments {
		if at.leaving {
			all = append(all, at)
		}
	}
	a.mu.Unlock()
	for _, at := range all {
		if release, err := a.claim(ctx, at.Endpoint); err == nil {
			a.leaving.add(departure{at, "its DEL was answered before a restart", time.Now(), release})
		}
	}
}
