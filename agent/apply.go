package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// take applies one item and answers it.
func (a *Agent) take(ctx context.Context, it *work.Item) {
	started := time.Now()
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if a.joining && !it.Snapshot && it.Rev != a.state.Rev+1 {
		return // the snapshot that was asked for covers it
	}
	if it.Rev < a.state.Rev || it.Rev == a.state.Rev && !it.Snapshot {
		// work.State.Apply takes no older item either: it was applied before.
		if it.Snapshot {
			a.log.Warn("an old picture came and is left out; had the controller lost its log, remove the state directory", "rev", it.Rev, "have", a.state.Rev)
		}
		return
	}
	change := plan(a.state, it)
	old := a.state.Programs
	if len(change.programs)+len(change.gonePrograms) > 0 {
		old = maps.Clone(old)
	}
	a.unshare(it)
	var drafts *firewall.Drafts
	if !a.synced && it.Snapshot {
		drafts = firewall.Draft(it.Programs) // while the picture is made and goes to the disk
	}
	switch err := a.state.Apply(it); {
	case errors.Is(err, work.ErrGap):
		if !a.joining {
			a.log.Warn("asking for the whole picture", "because", err)
			a.join(err.Error())
		}
		return
	case err != nil:
		a.log.Error("a work item makes no sense", "rev", it.Rev, "error", err)
		return
	}
	if it.Snapshot {
		a.joining, a.drafts = false, drafts
	}
	err := a.journal.append(it, a.state)
	a.trouble.set("disk", saidOf("the picture is not on disk", err)...)
	if err != nil {
		a.log.Error("the picture is not on disk; it will be tried again, and until then a restart waits for the controller", "rev", it.Rev, "error", err)
	}
	step("item on disk")
	for _, p := range change.programs {
		a.users.put(&p)
	}
	for _, id := range change.gonePrograms {
		a.users.drop(id)
	}
	failed := a.apply(ctx, change)
	look := cut{suspects: a.suspect(change, old), started: started}
	if !look.empty() {
		look.court = a.court()
		a.again.join(look.suspects, time.Now())
	}
	for _, f := range failed {
		a.log.Error("not applied", "rev", it.Rev, "what", f.Key, "error", f.Error)
	}
	if len(failed) > 0 {
		a.hurry() // it may have been the moment
	}
	took := time.Since(started)
	a.log.Debug("applied", "rev", it.Rev, "took", took)
	a.lastTook = took
	look.applied = &work.Applied{Rev: a.state.Rev, Took: took, Failed: failed}
	if a.large() {
		a.digestDue = time.Now().Add(digestAfter) // when it is quiet
	} else {
		look.applied.Digest, a.digestDue = a.state.Digest(), time.Time{}
	}
	a.order(look)
}

// digestAfter is how long a host with a large picture must be quiet before its
// digest is computed.
const digestAfter = 500 * time.Millisecond

// large says whether the picture's digest takes more than a fraction of a
// millisecond: as long as most items take to apply.
func (a *Agent) large() bool {
	const most = 300
	n := len(a.state.Endpoints) + len(a.state.Routes)
	for _, s := range a.state.Sets {
		n += len(s.Members)
	}
	for _, p := range a.state.Programs {
		for _, tiers := range [][]work.Tier{p.Ingress, p.Egress} {
			for _, t := range tiers {
				n += 2 * len(t.Rules)
			}
		}
		if n > most {
			break
		}
	}
	return n > most
}

// sayMore reports the digest of a large picture once no item came for a while,
// and what has become wrong on the host, or right again.
func (a *Agent) sayMore() {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	digest := !a.digestDue.IsZero() && !time.Now().Before(a.digestDue)
	if a.state.Rev == 0 || !digest && !a.trouble.due() || !a.cuts.idle() {
		return
	}
	applied := work.Applied{Rev: a.state.Rev, Took: a.lastTook}
	if digest || !a.large() {
		a.digestDue, applied.Digest = time.Time{}, a.state.Digest()
	}
	a.answer(applied)
}

// apply makes a change in the order in which nothing refers to what is not
// there, and nothing is granted before what it is granted to exists.
func (a *Agent) apply(ctx context.Context, c *change) (failed []work.Failure) {
	if !a.synced {
		// The first picture of this process: the kernel may hold anything.
		a.setEndpoints(c, a.endEndpoints(c.ended, &failed))
		failed, err := a.first(ctx)
		if err != nil {
			a.hurry()
			return append(failed, work.Failure{Key: "host", Error: err.Error()})
		}
		a.putRoutes(c, &failed)
		a.ended(c.ended)
		return failed
	}
	freed := a.endEndpoints(c.ended, &failed) // to close waits for nothing
	step("endpoints ended")
	failed = append(failed, a.fw.PutSets(c.sets)...)
	step("sets made")
	failed = append(failed, a.fw.Edit(c.edits, false, a.wants)...)
	step("members added")
	gonePrograms := a.putPrograms(ctx, c, &failed)
	step("rules written")
	failed = append(failed, a.setEndpoints(c, freed)...)
	step("endpoints moved")
	a.putRoutes(c, &failed)
	step("routes put")
	if c.bgp {
		failed = append(failed, a.bgp.Apply(ctx, a.state.BGP)...)
	}
	for _, r := range c.goneRoutes {
		if r.Via.IsValid() && a.later(r.Prefix) {
			continue
		}
		if err := a.routes.Delete(r.Prefix); err != nil {
			failed = append(failed, work.Failure{Key: "route " + r.Prefix.String(), Error: err.Error()})
		}
	}
	step("routes gone")
	a.ended(c.ended)
	failed = append(failed, a.fw.Edit(c.edits, true, a.wants)...)
	step("members gone")
	a.programs(ctx, nil, gonePrograms, &failed)
	step("rules gone")
	failed = append(failed, a.fw.DropSets(c.goneSets)...)
	step("sets gone")
	return failed
}

func (a *Agent) putRoutes(c *change, failed *[]work.Failure) {
	for _, r := range c.routes {
		if err := a.routes.Put(r); err != nil {
			*failed = append(*failed, work.Failure{Key: "route " + r.Prefix.String(), Error: err.Error()})
		}
	}
}

// wants says whether the picture has a member.
func (a *Agent) wants(set, member string) bool {
	s := a.state.Sets[set]
	if s == nil {
		return false
	}
	_, ok := s.Members[member]
	return ok
}

// endEndpoints closes endpoints that ended, and returns the addresses that this
// frees.
func (a *Agent) endEndpoints(ids []string, failed *[]work.Failure) (freed []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var wires []firewall.Wire
	for _, id := range ids {
		freed = append(freed, a.endpoints[id].Address)
		delete(a.endpoints, id)
		if at := a.attachments[id]; at != nil && at.Wired {
			wires = append(wires, a.wire(at))
		}
	}
	a.rewire(wires, failed)
	if len(ids) > 0 {
		a.tell()
	}
	return freed
}

// rewire tells the firewall of endpoints whose posture is another now. The
// caller holds mu.
func (a *Agent) rewire(wires []firewall.Wire, failed *[]work.Failure) {
	if len(wires) == 0 || !a.synced {
		return
	}
	if err := a.fw.Wire(wires...); err != nil {
		*failed = append(*failed, work.Failure{Key: "endpoints", Error: err.Error()})
		a.hurry()
	}
}

// tell has waiting attaches look at the endpoints again. The caller holds mu.
func (a *Agent) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// setEndpoints lets the attached endpoints change posture, and tells waiting
// attaches. freed are the addresses of those that ended.
func (a *Agent) setEndpoints(c *change, freed []netip.Addr) (failed []work.Failure) {
	var taken []netip.Addr
	defer func() {
		a.bgp.Freed(freed...)
		a.bgp.Taken(taken...)
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	var wires []firewall.Wire
	for _, ep := range c.endpoints {
		freed, taken = append(freed, a.endpoints[ep.ID].Address), append(taken, ep.Address)
		a.endpoints[ep.ID] = ep
		if at := a.attachments[ep.ID]; at != nil && at.Wired {
			if ep.Address != at.Address || ep.Network != at.Network {
				failed = append(failed, work.Failure{Key: "endpoint " + ep.ID, Error: fmt.Sprintf(
					"it is attached as %s on %s and cannot become %s on %s", at.Address, at.Network, ep.Address, ep.Network)})
			}
			wires = append(wires, a.wire(at))
		}
	}
	a.fw.Moved()
	a.rewire(wires, &failed)
	if len(c.endpoints) > 0 {
		a.tell()
	}
	return failed
}

// wire is what the firewall should hold of an attachment. One whose endpoint
// ended, or is another than it was attached as, is closed: only the host
// itself reaches it, for the executor's last words.
func (a *Agent) wire(at *attachment) firewall.Wire {
	w := firewall.Wire{Address: at.Address, Iface: at.Veth}
	if ep, ok := a.endpoints[at.Endpoint]; ok && ep.Address == at.Address && ep.Network == at.Network {
		w.Posture = ep.Posture
	}
	return w
}

// ended answers for endpoints that are no more: those of which nothing is on
// the host are said to be detached at once, or by whoever has just claimed them,
// the others when they are.
func (a *Agent) ended(ids []string) {
	for _, id := range ids {
		a.mu.Lock()
		_, attached := a.attachments[id]
		_, working := a.busy[id]
		if working {
			a.owed[id] = true
		}
		a.mu.Unlock()
		if !attached && !working {
			a.report.wiring(events.Wiring{Endpoint: id, State: events.Detached})
		}
	}
}

func cloneEndpoints(m map[string]work.Endpoint) map[string]work.Endpoint { return maps.Clone(m) }

// wires are all that the firewall should vouch for, in a fixed order.
func (a *Agent) wires() (all []firewall.Wire) {
	_ = a.withWires(func(ws []firewall.Wire) error { all = ws; return nil }) // fails only when its function does
	return all
}

// withWires keeps attaches and detaches waiting while do looks at the wires.
func (a *Agent) withWires(do func([]firewall.Wire) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ws []firewall.Wire
	for _, at := range a.attachments {
		if at.Wired {
			ws = append(ws, a.wire(at))
		}
	}
	slices.SortFunc(ws, func(x, y firewall.Wire) int { return x.Address.Compare(y.Address) })
	return do(ws)
}
