package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events"
	"golang.org/x/sync/errgroup"
)

// Del takes a container's interface away with all that belongs to it. For a
// container that was never attached, or was before, there is nothing to do.
func (a *Agent) Del(ctx context.Context, c cni.Attachment) error {
	at := a.find(c.Container, c.Iface)
	if at == nil {
		at = a.adopted(ctx, c)
	}
	if at == nil {
		return nil
	}
	return a.detach(ctx, at, "DEL")
}

// Check says whether an attachment is still whole.
func (a *Agent) Check(_ context.Context, c cni.Attachment) error {
	at := a.find(c.Container, c.Iface)
	if at == nil || !at.Wired {
		return fmt.Errorf("container %s has no interface %s from this agent", c.Container, c.Iface)
	}
	spec := at.spec(a.cfg.MTU)
	if c.Namespace != "" {
		spec.Namespace = c.Namespace
	}
	if err := a.host.Check(spec); err != nil {
		return err
	}
	return a.host.CheckTask(spec)
}

// GC detaches what is on the network and not in valid.
func (a *Agent) GC(ctx context.Context, network string, valid []cni.Attachment) error {
	keep := map[[2]string]bool{}
	for _, v := range valid {
		keep[[2]string{v.Container, v.Iface}] = true
	}
	a.mu.Lock()
	var stale []*attachment
	for _, at := range a.attachments {
		if at.Network == network && !keep[[2]string{at.Container, at.Iface}] {
			stale = append(stale, at)
		}
	}
	a.mu.Unlock()
	var errs []error
	for _, at := range stale {
		errs = append(errs, a.detach(ctx, at, "GC"))
	}
	return errors.Join(errs...)
}

// Status says whether an attach could work now.
func (a *Agent) Status(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := a.mesos.List(ctx); err != nil {
		return err
	}
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if !a.synced {
		return errors.New("the agent has not had the host's picture from the controller yet")
	}
	return nil
}

func (a *Agent) find(container, iface string) *attachment {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.attachments {
		if at.Container == container && at.Iface == iface {
			return at
		}
	}
	return nil
}

// detach removes an attachment and says so.
func (a *Agent) detach(ctx context.Context, at *attachment, why string) error {
	started := time.Now()
	release, err := a.claim(ctx, at.Endpoint)
	if err != nil {
		return err
	}
	defer release()
	a.mu.Lock()
	current := a.attachments[at.Endpoint] == at
	a.mu.Unlock()
	if !current {
		return nil // another call was first
	}
	if err := a.remove(at); err != nil {
		return err
	}
	took := time.Since(started)
	a.log.Info("detached", "task", at.Endpoint, "address", at.Address, "iface", at.Veth, "because", why, "took", took)
	a.report.wiring(events.Wiring{Endpoint: at.Endpoint, Address: at.Address.String(), State: events.Detached, Took: took})
	return nil
}

// remove takes everything of an attachment away, in the order in which nothing
// is open that should not be. What fails can be tried again. The caller has
// claimed the endpoint.
func (a *Agent) remove(at *attachment) error {
	// From here on an item that closes or changes the endpoint must not wire it
	// again: what it put into the sets then, nobody would take out.
	a.mu.Lock()
	was := at.Wired
	at.Wired = false
	err := a.fw.Unwire(firewall.Wire{Address: at.Address, Iface: at.Veth})
	if err != nil {
		at.Wired = was
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	// Both take the kernel some 20 ms: it waits for readers, or walks a table.
	var g errgroup.Group
	g.Go(func() error { return a.host.Detach(at.Veth) })
	g.Go(func() error {
		if n, err := conntrack.Count(); err != nil || n == 0 {
			return err
		}
		return a.flows.Forget(at.Address)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := at.forget(a.cfg.StateDir); err != nil {
		return err
	}
	a.mu.Lock()
	delete(a.attachments, at.Endpoint)
	a.mu.Unlock()
	return nil
}
