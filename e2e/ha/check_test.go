package ha

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// check waits for everything to come to rest, and holds the log, the items, the
// hosts and the cluster against each other.
func (p *place) check() {
	p.t.Helper()
	p.stopChurn()
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Minute) // a long run has much to read
	defer cancel()
	if err := p.sim.Settle(ctx); err != nil {
		p.t.Fatalf("the simulated cluster does not settle: %v", err)
	}
	var why string
	defer func() {
		if p.t.Failed() {
			p.t.Log(why)
		}
	}()
	p.until(time.Minute, "agreement of the status with the cluster", func() bool {
		why = p.differs()
		return why == ""
	})
	p.checkItems(ctx)
	p.checkLog(ctx)
	p.checkReplay()
	for _, h := range p.hosts {
		for _, f := range h.faults {
			p.t.Errorf("host %s: %s", h.name, f)
		}
	}
}

// differs says how the status differs from the truth, or "".
func (p *place) differs() string {
	st, ok := p.status()
	switch {
	case !ok:
		return "nobody answers"
	case st.Log.Last != st.Log.Folded:
		return fmt.Sprintf("log at %d, folded to %d", st.Log.Last, st.Log.Folded)
	case len(st.Hosts) != hosts:
		return fmt.Sprintf("%d hosts", len(st.Hosts))
	}
	for _, c := range st.Controllers[1:] {
		if time.Since(c.Heard) < time.Second && c.Settled != st.Log.Last {
			return fmt.Sprintf("follower %s folded to %d of %d", c.Name, c.Settled, st.Log.Last)
		}
	}
	var truth, told []string
	for _, t := range p.sim.Tasks() {
		truth = append(truth, t.ID+" on "+t.Host+" "+t.State)
	}
	addresses := map[netip.Addr]bool{}
	for _, e := range st.Endpoints {
		told = append(told, e.Task+" on "+e.Host+" "+e.State)
		if !e.Address.IsValid() || addresses[e.Address] || e.Wiring != events.Attached {
			return fmt.Sprintf("%s has the address %s and is %q", e.Task, e.Address, e.Wiring)
		}
		addresses[e.Address] = true
	}
	slices.Sort(truth)
	slices.Sort(told)
	if !slices.Equal(truth, told) {
		return fmt.Sprintf("there are %d tasks:\n%v\nthe status has %d:\n%v", len(truth), truth, len(told), told)
	}
	for _, v := range st.Hosts {
		i := slices.IndexFunc(p.hosts, func(h *host) bool { return h.name == v.Name })
		if rev := p.hosts[i].rev(); v.Ending != 0 || rev != v.Rev {
			return fmt.Sprintf("host %s is at %d of %d, %d endpoints are ending", v.Name, rev, v.Rev, v.Ending)
		}
	}
	return ""
}

// checkItems: each revision of each host was stored once, in order, and no
// leader's item lies after a later leader's.
func (p *place) checkItems(ctx context.Context) {
	p.t.Helper()
	revs, states := map[string]uint64{}, map[string]*work.State{}
	var epoch uint64
	for st, err := range work.ReadItems(ctx, p.conn.JS, 0) {
		if err != nil {
			p.t.Fatal(err)
		}
		it, err := st.Item()
		if err != nil {
			p.t.Fatal(err)
		}
		if st.Epoch < epoch {
			p.t.Errorf("item %d of %s is of epoch %d, after one of epoch %d", it.Rev, it.Host, st.Epoch, epoch)
		}
		epoch = st.Epoch
		if it.Rev != revs[it.Host]+1 {
			p.t.Errorf("item %d of %s comes after %d", it.Rev, it.Host, revs[it.Host])
		}
		revs[it.Host] = it.Rev
		if states[it.Host] == nil {
			states[it.Host] = work.NewState()
		}
		if err := states[it.Host].Apply(it); err != nil {
			p.t.Errorf("item %d of %s: %v", it.Rev, it.Host, err)
		}
	}
	for _, h := range p.hosts {
		if states[h.name] == nil || h.state.Digest() != states[h.name].Digest() {
			p.t.Errorf("host %s has not what its items add up to", h.name)
		}
	}
}

// checkLog: the chain and its checkpoints are whole, no writer wrote after a
// later one, and every policy change that was acknowledged is there once.
func (p *place) checkLog(ctx context.Context) {
	p.t.Helper()
	log, err := eventlog.Open(ctx, p.conn.JS, eventlog.Options{Trust: []ed25519.PublicKey{p.key}})
	if err != nil {
		p.t.Fatal(err)
	}
	report, err := log.Verify(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, problem := range report.Problems {
		p.t.Error(problem)
	}
	if report.Checkpoints == 0 || report.Untrusted != 0 {
		p.t.Errorf("%d checkpoints, %d with other keys", report.Checkpoints, report.Untrusted)
	}
	var exported bytes.Buffer
	if err := log.Export(ctx, &exported); err != nil {
		p.t.Fatal(err)
	}
	var epoch uint64
	commits := map[string]int{}
	lines := bufio.NewScanner(&exported)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var line struct {
			Seq, Epoch uint64
			Event      events.Event
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			p.t.Fatal(err)
		}
		if line.Seq == 0 {
			continue
		}
		if line.Epoch < epoch {
			p.t.Errorf("record %d is of epoch %d, after one of epoch %d", line.Seq, line.Epoch, epoch)
		}
		epoch = line.Epoch
		if line.Event.Policy != nil {
			commits[line.Event.Policy.Commit]++
		}
	}
	for _, c := range p.applied {
		if commits[c] != 1 {
			p.t.Errorf("policy change %s was acknowledged and is %d times in the log", c, commits[c])
		}
	}
	p.t.Logf("%d records in the log, signed up to %d by %d checkpoints", report.Records, report.Signed, report.Checkpoints)
	for _, stream := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream} {
		u, err := bus.StreamUsage(ctx, p.conn.JS, stream)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Logf("%s: %d bytes a record", stream, u.Bytes/max(u.Last, 1))
	}
}

// checkReplay: what was published is what the log says.
func (p *place) checkReplay() {
	p.t.Helper()
	args := []string{"audit", "replay", "-o", "json"}
	for _, u := range p.urls {
		args = append(args, "--nats-url", u)
	}
	out, err := run(taskwall, args...)
	var r scheduler.Replayed
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil || r.Items == 0 || r.Equal != r.Items || r.Published != r.Items {
		p.t.Errorf("replay: %+v, %v", r, err)
	}
	p.t.Logf("%d events made %d work items, %d were published, %d are equal; %d scalings, %d policy changes", r.Events, r.Items, r.Published, r.Equal,
		p.scaled, len(p.applied))
}

// checkSignedBefore: a checkpoint vouches for all that was written before the
// term of an epoch began.
func (p *place) checkSignedBefore(epoch uint64) {
	p.t.Helper()
	log, err := eventlog.Open(p.ctx, p.conn.JS, eventlog.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	all, err := log.Checkpoints(p.ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for e, err := range log.Read(p.ctx, 0) {
		if err != nil {
			p.t.Fatal(err)
		}
		if e.Event.Term == nil || e.Event.Term.Epoch != epoch {
			continue
		}
		if !slices.ContainsFunc(all, func(c eventlog.Checkpoint) bool { return c.Seq == e.Seq-1 }) {
			p.t.Errorf("no checkpoint at %d, where the term before ended", e.Seq-1)
		}
		return
	}
	p.t.Errorf("the log says nothing of term %d", epoch)
}
