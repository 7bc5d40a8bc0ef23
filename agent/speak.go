package agent

import (
	"context"
	"net/netip"

	"github.com/taskwall/taskwall/events/work"
)

// first brings the kernel to the first picture of the process. What leads to
// other hosts is there before what led there before goes: a host that speaks
// BGP listens to its peers first, one that does not any more has its static
// routes first. The caller holds applyMu.
func (a *Agent) first(ctx context.Context) (failed []work.Failure, err error) {
	if a.state.BGP != nil {
		failed = a.bgp.Apply(ctx, a.state.BGP)
	}
	if err := a.compare(ctx, nil); err != nil {
		return failed, err
	}
	if a.state.BGP == nil {
		failed = a.bgp.Apply(ctx, nil)
	}
	return failed, nil
}

// later says that a static route that is not wanted any more must stay for
// now: the host speaks BGP, and has neither learned the network nor heard all
// peers yet. unpark removes it in time. The caller holds applyMu.
func (a *Agent) later(p netip.Prefix) bool {
	if !a.bgp.Speaks() || a.bgp.Settled() || a.bgp.Has(p) {
		return false
	}
	a.parked[p] = struct{}{}
	return true
}

// unpark removes the static routes that need not stay any longer.
func (a *Agent) unpark() {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	a.dropParked()
}

func (a *Agent) dropParked() {
	for p := range a.parked {
		_, wanted := a.state.Routes[p]
		if !wanted && a.later(p) {
			continue
		}
		delete(a.parked, p)
		if wanted {
			continue
		}
		if err := a.routes.Delete(p); err != nil {
			a.log.Error("a static route that is not wanted any more is still there", "prefix", p, "error", err)
		}
	}
}
