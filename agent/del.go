package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/taskwall/taskwall/agent/cni"
)

// Del takes a container's interface away with all that belongs to it: when it
// returns nothing of it passes any more; the interface itself goes soon after.
// For a container that was never attached, or was before, there is nothing to do.
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
	a.mu.Lock()
	wired := at != nil && at.Wired
	a.mu.Unlock()
	if !wired {
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

// GC detaches what CNI attached to the network and is not in valid. Docker's
// tasks were not attached by CNI, so its caller knows nothing of them; nor can an
// interface be in valid whose container is still to be found out. The sweep looks
// after both.
func (a *Agent) GC(ctx context.Context, network string, valid []cni.Attachment) error {
	keep := map[[2]string]bool{}
	for _, v := range valid {
		keep[[2]string{v.Container, v.Iface}] = true
	}
	a.mu.Lock()
	var stale []*attachment
	for _, at := range a.attachments {
		theirs := at.PID == 0 && at.Container != "" && !a.endpoints[at.Endpoint].Docker
		if theirs && at.Network == network && !keep[[2]string{at.Container, at.Iface}] {
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

// detach shuts an attachment and leaves its removal to the departures: from
// its return on nothing of it passes, and when nothing of it is left, that is
// reported.
func (a *Agent) detach(ctx context.Context, at *attachment, why string) error {
	started := time.Now()
	release, err := a.claim(ctx, at.Endpoint)
	if err != nil {
		return err
	}
	a.mu.Lock()
	current := a.attachments[at.Endpoint] == at
	a.mu.Unlock()
	if !current {
		release()
		return nil // another call was first
	}
	if err = a.shut(at); err != nil {
		release()
		return err
	}
	step("shut")
	if err = a.promise(at); err != nil {
		// Without the promise on disk a later process would wire it again: it goes
		// from the kernel before the answer. Its file, and so its address, stay until
		// the disk can be written.
		a.log.Error("the disk does not take a removal; the interface is removed at once", "task", at.Endpoint, "error", err)
		if err = a.takeAway(at); err != nil {
			release()
			return err
		}
	}
	step("leaving on disk")
	a.leaving.add(departure{at, why, started, release})
	return nil
}

// promise marks an attachment that is shut as leaving, on disk too. The caller
// has claimed the endpoint.
func (a *Agent) promise(at *attachment) error {
	if at.leaving {
		return nil
	}
	mark := func(leaving bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		at.leaving = leaving
	}
	from := at.file(a.cfg.StateDir)
	mark(true)
	if err := os.Rename(from, at.file(a.cfg.StateDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		mark(false)
		return fmt.Errorf("marking the attachment of %s as leaving: %w", at.Endpoint, err)
	}
	return nil
}

// remove is detach for an attachment whose endpoint the caller has claimed and
// goes on with. What fails can be tried again.
func (a *Agent) remove(at *attachment) error {
	if err := a.shut(at); err != nil {
		return err
	}
	return a.clear(at)
}
