package agent

import (
	"context"
	"slices"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/events/work"
)

// adopt takes over the interfaces that an earlier process made: they are wired
// as they were, and what is not as it should be on the host's side is mended once the
// rules are in force. One that is gone went with its task, and the sweep decides
// about it; one that was just being attached is made anew when the plugin asks
// again. An interface that is not in the records is taken over too, when the state
// directory was lost: an interface's name says whose it is, so a running task
// keeps its network. The container is filled in when the Mesos agent is next asked.
func (a *Agent) adopt() {
	names, err := a.host.Interfaces()
	if err != nil {
		a.log.Error("the host's interfaces cannot be listed", "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.attachments {
		if _, working := a.busy[id]; !working && !at.Wired && !at.shut && !at.leaving { // else it is being made, or taken away
			at.Wired = slices.Contains(names, at.Veth)
		}
	}
	for _, ep := range a.endpoints {
		veth := attach.Name(ep.ID, ep.Network)
		if a.attachments[ep.ID] != nil || !slices.Contains(names, veth) {
			continue
		}
		iface, err := a.host.Inner(veth) // DEL will name it
		if err != nil {
			a.log.Warn("an interface is not as its endpoint should have it and is left closed", "task", ep.ID, "error", err)
			continue
		}
		at := &attachment{Endpoint: ep.ID, Network: ep.Network, Veth: veth, Iface: iface, Address: ep.Address, Wired: true}
		if err := at.save(a.cfg.StateDir); err != nil {
			a.log.Error("an attachment was found but cannot be kept", "error", err)
		}
		a.attachments[ep.ID] = at
		a.log.Info("found an attachment that was not in the records", "task", ep.ID, "address", ep.Address, "iface", veth)
	}
}

// adopted finds the attachment of a container among those whose container is
// not known yet.
func (a *Agent) adopted(ctx context.Context, c cni.Attachment) *attachment {
	a.mu.Lock()
	some := false
	for _, at := range a.attachments {
		some = some || at.Container == ""
	}
	a.mu.Unlock()
	if !some {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	l, ok, err := a.findContainer(ctx, c.Container)
	if err != nil || !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.attachments {
		if work.ExecutorOf(at.Endpoint) == l.Endpoint() && at.Network == c.Network && at.Container == "" {
			return at
		}
	}
	return nil
}

// removeStale removes interfaces of ours that no attachment has, twice in a row.
// An attach has its record first, and waits for the end of this.
func (a *Agent) removeStale() {
	names, err := a.host.Interfaces()
	if err != nil {
		a.log.Error("the host's interfaces cannot be listed", "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.attachments {
		names = slices.DeleteFunc(names, func(n string) bool { return n == at.Veth })
	}
	for _, n := range names {
		if !slices.Contains(a.strays, n) {
			continue
		}
		a.log.Info("removing an interface that no task has", "iface", n)
		if err := a.host.Detach(n); err != nil {
			a.log.Error("an interface that no task has could not be removed", "iface", n, "error", err)
		}
	}
	a.strays = names
}
