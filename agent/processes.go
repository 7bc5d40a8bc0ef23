package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// A task of the Docker containerizer on Docker's network "none" is attached by
// its process, since Mesos calls no CNI for it. The agent looks for the process
// from the task's announcement on. Until it has attached it, the task has no
// interface: nothing gets in or out.

const (
	// lookEvery is how often the agent looks whether a process came or went:
	// with the attach itself, the time that a task runs without a network.
	lookEvery = 50 * time.Millisecond
	// askEvery is how often it asks the Mesos agent for the container of a task.
	askEvery = 500 * time.Millisecond
	// retryAfter is the time until an attach that failed is tried again.
	retryAfter = 2 * time.Second
)

// processes attaches the endpoints that Docker runs.
func (a *Agent) processes(ctx context.Context) error {
	w := waiting{container: map[string]string{}, after: map[string]time.Time{}, failed: map[string]string{}}
	return often(ctx, func() { w.round(ctx, a) })
}

// endOfProcesses detaches the endpoints whose process has ended. It asks the
// kernel alone, and waits for no daemon that hangs.
func (a *Agent) endOfProcesses(ctx context.Context) error {
	return often(ctx, func() {
		for _, at := range a.ofProcesses() {
			if attach.Alive(at.PID, at.Started) {
				continue
			}
			if err := a.detach(ctx, at, "its process has ended"); err != nil && ctx.Err() == nil {
				a.log.Error("what is left of a task could not be removed; it will be tried again", "task", at.Endpoint, "error", err)
			}
		}
	})
}

func often(ctx context.Context, look func()) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		look()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// ofProcesses are the attachments that were made by a process, in a fixed order. Those
// that could not be removed are the sweep's, which tries less often.
func (a *Agent) ofProcesses() (all []*attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(a.attachments)) {
		if at := a.attachments[id]; at.PID != 0 && !at.shut && !at.leaving {
			all = append(all, at)
		}
	}
	return all
}

// unattached are the endpoints that Docker runs and that have no whole attachment.
func (a *Agent) unattached() (eps []work.Endpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(a.endpoints)) {
		ep := a.endpoints[id]
		if at := a.attachments[id]; ep.Docker && (at == nil || !at.Wired || at.PID == 0) {
			eps = append(eps, ep)
		}
	}
	return eps
}

// waiting is what is known of endpoints whose process has not been attached.
type waiting struct {
	container map[string]string    // Mesos container by endpoint
	asked     time.Time            // when the Mesos agent was last asked
	unknown   bool                 // it gave no answer then
	after     map[string]time.Time // no attach before
	failed    map[string]string    // why the last attach failed
}

func (w *waiting) round(ctx context.Context, a *Agent) {
	eps := a.unattached()
	w.forget(eps)
	if len(eps) == 0 {
		return
	}
	if slices.ContainsFunc(eps, func(ep work.Endpoint) bool { return w.container[ep.ID] == "" }) && time.Since(w.asked) >= askEvery {
		w.asked = time.Now()
		cs, err := a.mesos.List(ctx)
		if err != nil && !w.unknown && ctx.Err() == nil {
			a.log.Warn("the containers of Docker's tasks are not known; the Mesos agent is asked on", "error", err)
		}
		w.unknown = err != nil
		for _, c := range cs {
			w.container[c.Endpoint()] = c.ID
			w.container[work.EndpointAt(a.cfg.Host, c.Endpoint(), "", 0)] = c.ID
		}
	}
	for _, ep := range eps {
		if ctx.Err() != nil || w.container[ep.ID] == "" || time.Now().Before(w.after[ep.ID]) {
			continue
		}
		started := time.Now()
		found, err := a.attachProcess(ctx, ep.ID, w.container[ep.ID])
		if !found || ctx.Err() != nil {
			continue // it does not run yet, or any more
		}
		report := events.Wiring{Endpoint: ep.ID, State: events.Attached, Took: time.Since(started), Address: addressText(ep)}
		if err != nil {
			w.after[ep.ID] = time.Now().Add(retryAfter)
			if w.failed[ep.ID] == err.Error() {
				continue // it was said
			}
			w.failed[ep.ID] = err.Error()
			a.log.Error("a task of Docker's could not be attached; it has no network", "task", ep.ID, "error", err)
			report.State, report.Error = failedAs(err), err.Error()
		}
		a.report.wiring(report)
	}
}

// forget drops what is known of endpoints that wait no more.
func (w *waiting) forget(still []work.Endpoint) {
	wait := func(id string) bool {
		return slices.ContainsFunc(still, func(ep work.Endpoint) bool { return ep.ID == id })
	}
	maps.DeleteFunc(w.container, func(id, _ string) bool { return !wait(id) })
	maps.DeleteFunc(w.after, func(id string, _ time.Time) bool { return !wait(id) })
	maps.DeleteFunc(w.failed, func(id, _ string) bool { return !wait(id) })
}

// attachProcess attaches an endpoint to the process of its container. found is
// false while there is none, or the agent is not ready.
func (a *Agent) attachProcess(ctx context.Context, id, container string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.WaitTimeout)
	defer cancel()
	p, err := a.processOf(ctx, container)
	if p == nil || err != nil {
		return err != nil, err
	}
	defer p.Close()
	release, err := a.claim(ctx, id)
	if err != nil {
		return true, err
	}
	defer release()
	a.mu.Lock()
	ep, ok := a.endpoints[id]
	old, open, tried := a.attachments[id], a.open(), a.notInForce != nil
	a.mu.Unlock()
	if !ok {
		return false, nil // it ended meanwhile
	}
	if open != nil {
		return tried, open
	}
	if ep.Posture != "" && !a.fw.Ready(ep.Posture) {
		return false, nil // its rules are still to be written
	}
	if err := suits(ep, cni.Attachment{Network: ep.Network}); err != nil {
		return true, err
	}
	namespace := fmt.Sprintf("/proc/%d/ns/net", p.PID)
	if old != nil && old.Wired && old.Address == ep.Address && a.host.Holds(old.spec(a.cfg.MTU), p) == nil {
		// It was found by its name, since its record was lost.
		a.known(old, container, namespace, p)
		return true, nil
	}
	if old != nil { // half made
		if err := a.remove(old); err != nil {
			return true, err
		}
	}
	if err := a.host.Isolated(p); err != nil {
		return true, err
	}
	in, err := attach.Enter(p.Path()) // what is open is his, whoever has the process id
	if err != nil {
		return true, err
	}
	defer in.Close()
	at, err := a.attach(ep, attaching{
		Attachment: cni.Attachment{Container: container, Network: ep.Network, Namespace: namespace, Iface: "eth0"},
		process:    p,
		enter:      func() (*attach.Inside, error) { return in, nil },
	})
	if err != nil {
		return true, err
	}
	a.log.Info("attached", "task", id, "address", ep.Address, "iface", at.Veth, "pid", p.PID)
	return true, nil
}

// known puts the process of an attachment on record. The caller has claimed the
// endpoint.
func (a *Agent) known(old *attachment, container, namespace string, p *attach.Process) {
	a.mu.Lock()
	at := *old // others may still read the old one
	at.Container, at.Namespace, at.PID, at.Started = container, namespace, p.PID, p.Started
	a.attachments[at.Endpoint] = &at
	a.mu.Unlock()
	a.log.Info("found the process of an attachment", "task", at.Endpoint, "iface", at.Veth, "pid", p.PID)
	if err := at.save(a.cfg.StateDir); err != nil {
		a.log.Error("an attachment was found but cannot be kept", "error", err)
	}
}

// processOf opens the process of a Docker container, or returns nil when it
// does not run. The daemon is asked again after the namespace was opened: a container
// that still runs with that process has had it all along, so that what was
// opened is the container's and not a stranger's that got the same process id.
func (a *Agent) processOf(ctx context.Context, container string) (*attach.Process, error) {
	name := "mesos-" + container // CLUSTER-API 5.5
	before, ok, err := a.docker.Inspect(ctx, name)
	if err != nil || !ok || before.PID == 0 {
		return nil, err
	}
	if before.Network != "none" {
		return nil, fmt.Errorf("%w: the container's Docker network is %q and must be \"none\"", ErrNetwork, before.Network)
	}
	p, err := attach.OpenProcess(before.PID)
	if errors.Is(err, attach.ErrNamespace) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, err
	}
	if after, ok, err := a.docker.Inspect(ctx, name); err != nil || !ok || after != before {
		p.Close()
		return nil, err
	}
	return p, nil
}
