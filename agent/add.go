package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/containers"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Add attaches a container: it returns when the endpoint's posture is in the
// kernel, so that the task's first packet meets it.
func (a *Agent) Add(ctx context.Context, c cni.Attachment) (cni.Result, error) {
	started := time.Now()
	wait, cancel := context.WithTimeout(ctx, a.cfg.WaitTimeout)
	defer cancel()
	if len(a.cfg.Networks) > 0 && !slices.Contains(a.cfg.Networks, c.Network) {
		return cni.Result{}, fmt.Errorf("%w: the configuration is named %q, the agent serves %s", ErrNetwork, c.Network, strings.Join(a.cfg.Networks, ", "))
	}
	ahead := enterAhead(c.Namespace)
	defer ahead.close()
	id, err := a.endpointOf(wait, c.Container)
	if err != nil {
		return cni.Result{}, err
	}
	var at *attachment
	ep, err := a.awaitEndpoint(wait, id, c.Network)
	if err == nil {
		err = suits(ep, c)
	}
	if err == nil {
		var release func()
		if release, err = a.claim(wait, ep.ID); err != nil {
			return cni.Result{}, err
		}
		defer release()
		at, err = a.attach(ep, attaching{Attachment: c, enter: ahead.inside})
	}
	if err != nil && ctx.Err() != nil {
		return cni.Result{}, err // called off: no failure of the task's
	}
	w := events.Wiring{Endpoint: ep.ID, State: events.Attached, Took: time.Since(started), Address: addressText(ep)}
	if err != nil {
		w.State, w.Error = failedAs(err), err.Error()
		a.report.wiring(w)
		return cni.Result{}, err
	}
	a.report.wiring(w)
	a.log.Info("attached", "task", id, "address", ep.Address, "iface", at.Veth, "took", w.Took)
	return at.result(), nil
}

// failedAs is what an attach that failed is reported as. Of an endpoint that
// ended meanwhile nothing is left, and nobody else says so.
func failedAs(err error) events.WiringState {
	if errors.Is(err, ErrGone) {
		return events.Detached
	}
	return events.Failed
}

func addressText(ep work.Endpoint) string {
	if !ep.Address.IsValid() {
		return ""
	}
	return ep.Address.String()
}

// suits says why an endpoint must not be attached as asked.
func suits(ep work.Endpoint, c cni.Attachment) error {
	switch {
	case ep.Refused != "":
		return fmt.Errorf("%w: %s", ErrRefused, ep.Refused)
	case ep.Network != c.Network:
		return fmt.Errorf("%w: %s belongs to network %q, and was asked for on %q", ErrNetwork, ep.ID, ep.Network, c.Network)
	case !ep.Address.Is4():
		return fmt.Errorf("%w: %s was given no IPv4 address", ErrRefused, ep.ID)
	case !ep.Address.IsGlobalUnicast():
		return fmt.Errorf("%w: %s was given %s, which is no task's address", ErrRefused, ep.ID, ep.Address)
	}
	return nil
}

// findContainer says which task or executor a container belongs to.
func (a *Agent) findContainer(ctx context.Context, container string) (containers.Container, bool, error) {
	if rootContainer(container) == container {
		return a.mesos.Find(ctx, container)
	}
	nested, err := a.mesos.Nested(ctx)
	i := slices.IndexFunc(nested, func(c containers.Container) bool { return c.ID == container })
	if i < 0 {
		return containers.Container{}, false, err
	}
	return nested[i], true, nil
}

// endpointOf asks the Mesos agent which executor a container belongs to, or
// which task of one, if it is nested and so has a network of its own.
func (a *Agent) endpointOf(ctx context.Context, container string) (string, error) {
	last := ErrUnknownContainer
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		c, ok, err := a.findContainer(ctx, container)
		switch {
		case ok:
			return c.Endpoint(), nil
		case err == nil:
			last = ErrUnknownContainer
		case ctx.Err() == nil:
			last = err
		}
		select {
		case <-ctx.Done():
			if errors.Is(last, ErrUnknownContainer) {
				call := "containers (GET_CONTAINERS"
				if rootContainer(container) != container {
					call = "tasks' containers (GET_TASKS"
				}
				return "", fmt.Errorf("%w: container %s is not among its %s on %s)", last, container, call, a.cfg.MesosAgent)
			}
			return "", fmt.Errorf("which task container %s is could not be found out from %s: %w", container, a.cfg.MesosAgent, last)
		case <-time.After(pause):
		}
	}
}

// rootContainer is the outermost container of a nested one ("parent.child").
func rootContainer(id string) string {
	root, _, _ := strings.Cut(id, ".")
	return root
}

// awaitEndpoint waits until a work item has brought the executor's endpoint on
// the network, and its rules are in force. All of an executor's endpoints come in one
// item; when it has none on that network, the first is returned.
func (a *Agent) awaitEndpoint(ctx context.Context, id, network string) (work.Endpoint, error) {
	for {
		a.mu.Lock()
		ep, ok := a.endpoints[id]
		for _, called := range []string{
			work.EndpointID(id, network, 1),
			work.EndpointAt(a.cfg.Host, id, network, 0), work.EndpointAt(a.cfg.Host, id, network, 1),
		} {
			if other, is := a.endpoints[called]; is && (!ok || ep.Network != network) {
				ep, ok = other, true
			}
		}
		changed, open := a.changed, a.open()
		a.mu.Unlock()
		if ok && open == nil {
			// A posture that could not be programmed is: its chains close it.
			if ep.Posture == "" || ep.Refused != "" || a.fw.Ready(ep.Posture) {
				return ep, nil
			}
			open = fmt.Errorf("%w (posture %s): look at the problems in taskwall status", ErrNotReady, ep.Posture)
		}
		select {
		case <-ctx.Done():
			if ok {
				return ep, open
			}
			return work.Endpoint{ID: id}, fmt.Errorf("%w: nothing about %s came within %s: look whether the controller runs and follows Mesos, and whether this host's agent reaches NATS (taskwall status)",
				ErrNoEndpoint, id, a.cfg.WaitTimeout)
		case <-changed:
		}
	}
}

// open says why nothing may be attached to the host. The caller holds mu.
func (a *Agent) open() error {
	switch {
	case a.inForce:
		return nil
	case a.notInForce == nil:
		return ErrOpen
	}
	return fmt.Errorf("%w: %w", ErrOpen, a.notInForce)
}

// claim makes the caller the only one who attaches or detaches the endpoint,
// until release.
func (a *Agent) claim(ctx context.Context, id string) (release func(), err error) {
	for {
		release, other := a.tryClaim(id)
		if release != nil {
			return release, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another attach or detach of %s: %w", id, ctx.Err())
		case <-other:
		}
	}
}

// tryClaim is claim that does not wait; when another has the endpoint, it returns
// what is closed when that one releases it.
func (a *Agent) tryClaim(id string) (release func(), other chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if other, taken := a.busy[id]; taken {
		return nil, other
	}
	done := make(chan struct{})
	a.busy[id] = done
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if _, is := a.endpoints[id]; a.owed[id] && !is && a.attachments[id] == nil {
			a.report.wiring(events.Wiring{Endpoint: id, State: events.Detached})
		}
		delete(a.owed, id)
		delete(a.busy, id)
		close(done)
	}, nil
}

// attaching says what to attach: what the plugin was called with, or a process.
type attaching struct {
	cni.Attachment
	process *attach.Process
	// enter gives the namespace, opened. It stays the caller's.
	enter func() (*attach.Inside, error)
}

// ahead is a namespace that is entered while it is found out what to attach.
type ahead struct {
	done chan struct{}
	in   *attach.Inside
	err  error
}

func enterAhead(path string) *ahead {
	e := &ahead{done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.in, e.err = attach.Enter(path)
	}()
	return e
}

func (e *ahead) inside() (*attach.Inside, error) {
	<-e.done
	return e.in, e.err
}

func (e *ahead) close() {
	if in, err := e.inside(); err == nil {
		in.Close()
	}
}

// attach makes the interface and has the firewall vouch for it. The caller has
// claimed the endpoint. When it fails nothing is left.
func (a *Agent) attach(ep work.Endpoint, c attaching) (_ *attachment, err error) {
	at := &attachment{
		Endpoint: ep.ID, Network: ep.Network, Container: c.Container, Namespace: c.Namespace,
		Iface: c.Iface, Veth: attach.Name(ep.ID, ep.Network), Address: ep.Address,
	}
	spec := at.spec(a.cfg.MTU)
	first := *at // nobody asks again for a process: until its end is on record it is not taken for attached
	if c.process != nil {
		at.PID, at.Started = c.process.PID, c.process.Started
	}
	a.mu.Lock()
	old := a.attachments[ep.ID]
	var was attachment // the sweep may learn more of it meanwhile
	if old != nil {
		was = *old
	}
	a.mu.Unlock()
	if old != nil {
		same := was.Container == at.Container && was.Iface == at.Iface && was.Namespace == at.Namespace && was.Address == at.Address
		if same && was.Wired && a.host.Whole(was.spec(a.cfg.MTU)) == nil && a.host.CheckTask(was.spec(a.cfg.MTU)) == nil {
			return old, nil // the plugin was killed, or the agent, and asks again
		}
		if was.Container != at.Container && a.alive(&was) {
			return nil, fmt.Errorf("%w: %s, whose network is still there", ErrElsewhere, was.Container)
		}
		if err := a.remove(old); err != nil {
			return nil, err
		}
	}
	in, err := c.enter()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.attachments[ep.ID] = at
	a.mu.Unlock()
	defer func() {
		if err != nil {
			err = errors.Join(err, a.remove(at))
		}
	}()
	// The record is on disk before anything passes. Were the agent killed when
	// there is an interface and no record, the next one would know it by its name.
	saved := make(chan error, 1)
	go func() {
		step("saving")
		err := first.save(a.cfg.StateDir)
		step("attachment on disk")
		saved <- err
	}()
	err = a.host.Attach(spec, in)
	step("interface made")
	if err := errors.Join(err, <-saved); err != nil {
		return nil, err
	}
	if err := a.vouch(at); err != nil {
		return nil, err
	}
	step("wired")
	if err := a.host.LeadOut(spec, in); err != nil {
		return nil, err
	}
	step("led out")
	if c.process != nil {
		if err := at.save(a.cfg.StateDir); err != nil {
			a.log.Error("a task of Docker's is attached, and that cannot be kept", "error", err)
		}
	}
	return at, nil
}

// vouch has the firewall vouch for an attachment whose endpoint is still there.
func (a *Agent) vouch(at *attachment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, ok := a.endpoints[at.Endpoint]
	if !ok || now.Address != at.Address || now.Refused != "" {
		return fmt.Errorf("%w: %s", ErrGone, at.Endpoint)
	}
	if err := a.fw.Wire(a.wire(at)); err != nil {
		return err
	}
	at.Wired = true
	return nil
}

// alive says whether an attachment's interface is still in use.
func (a *Agent) alive(at *attachment) bool {
	return a.host.HasAddress(at.spec(a.cfg.MTU)) == nil
}
