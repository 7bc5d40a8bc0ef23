package firewall

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sync/errgroup"
)

// Picture is all that the host's firewall should hold.
type Picture struct {
	Sets     map[string]*work.SetState
	Programs map[string]work.Program
	// Wires calls do with all wires that there should be, and keeps whoever
	// wires and unwires waiting until it returns: so none that was just wired is
	// taken for a stranger's.
	Wires func(do func([]Wire) error) error
	// Look is what the kernel held a moment ago. What was written since is not
	// looked for in it; nil: Sync reads the kernel itself.
	Look *Look
	// Drafts are of Programs; nil: Sync renders what it needs.
	Drafts *Drafts
}

// Sync reads the kernel and makes it equal to the picture, writing only what
// differs and sweeping what is ours and not in it. The drift says, in words,
// what the kernel held that it should not, against what this Firewall last wrote; the first
// Sync of a process reports none of the tables'.
func (f *Firewall) Sync(ctx context.Context, p Picture) (drift []string, failures []work.Failure, err error) {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	first := !f.filter.known
	drafts := p.Drafts
	if first && drafts == nil {
		drafts = Draft(slices.Collect(maps.Values(p.Programs))) // while other processes read the tables
	}
	look := p.Look
	f.writes++
	found, err := f.read(ctx, look)
	if err != nil {
		return nil, nil, err
	}
	var six errgroup.Group // these rules need nothing of the picture: they go first
	defer six.Wait()       //nolint:errcheck // another error is on its way
	nth := f.writes
	six.Go(func() error { return f.flush6(ctx, nth) })
	f.drafts = drafts.wait()
	defer func() { f.drafts = nil }()
	others := make(chan leftover, 1)
	if !f.alone { // takes several processes: while ours are brought in force
		go func() { others <- f.lookOther(ctx) }()
	}
	drift = append(drift, found...)
	for name, typ := range map[string]ipset.Type{setSrc: ipset.NetIface, setDst: ipset.NetIface, setOwn: ipset.Net} {
		wrote, err := f.create(name, typ, nil)
		if err != nil {
			return drift, nil, err
		}
		if wrote > 0 && !first {
			drift = append(drift, fmt.Sprintf("set %s was another", name))
		}
	}
	if look != nil {
		maps.DeleteFunc(f.wroteSet, func(_ string, at uint64) bool { return at <= look.writes })
	}
	clear(f.sets)
	for _, id := range sortedKeys(p.Sets) {
		s := p.Sets[id]
		if look != nil && f.unchangedSet(id, s, look) {
			continue
		}
		n := 0
		want, err := elements(s.Type, maps.Keys(s.Members))
		if err == nil {
			n, err = f.equalSet(id, s.Type, want, look)
		}
		if err != nil {
			failures = append(failures, work.Failure{Key: "set " + id, Error: err.Error()})
		} else if n > 0 && !first {
			drift = append(drift, fmt.Sprintf("set %s differed in %d elements", setName(id), n))
		}
	}
	if err := six.Wait(); err != nil {
		return drift, failures, fmt.Errorf("bringing the tables up to date: %w", err)
	}
	put, gone := f.differing(p.Programs, len(f.sets) == len(p.Sets))
	// The number of a posture that goes is given to another only after the
	// endpoints have left it.
	if err := f.install(ctx, put, gone); err != nil {
		return drift, failures, fmt.Errorf("bringing the tables up to date: %w", err)
	}
	for _, id := range sortedKeys(p.Programs) {
		if why := f.programs[id].failed; why != nil {
			failures = append(failures, work.Failure{Key: "program " + id, Error: why.Error()})
		}
	}
	if !f.alone {
		f.sweepOther(ctx, <-others) // only now: ours are in force
		f.alone = true
	}
	err = p.Wires(func(ws []Wire) (err error) { found, err = f.equalWires(ws); return err })
	if err != nil {
		return drift, failures, err
	}
	f.free()
	if !first {
		drift = append(drift, found...)
	}
	swept, err := f.sweepSets(p.Sets)
	if !first {
		drift = append(drift, swept...)
	}
	return drift, failures, err
}

// retryRefused is how many of the programs that the kernel refused a Sync
// offers it again: each costs a process.
const retryRefused = 4

// differing are the programs that are not in force as they should be, and the
// postures that should not be. Unless all sets are whole, a program that names
// one that is not is to be closed.
func (f *Firewall) differing(want map[string]work.Program, allSets bool) (put []work.Program, gone []string) {
	for id := range f.programs {
		if _, ok := want[id]; !ok {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	again := 0
	for _, id := range sortedKeys(want) {
		p, is := want[id], f.programs[id]
		switch {
		case is == nil || !reflect.DeepEqual(is.program, p):
		case is.failed == nil && (allSets || f.hasSets(p)):
			continue
		case is.refused:
			if again++; again > retryRefused {
				continue
			}
		}
		put = append(put, p)
	}
	return put, gone
}

// hasSets says whether all sets that a program names are whole.
func (f *Firewall) hasSets(p work.Program) bool {
	return !slices.ContainsFunc(p.SetIDs(), func(id string) bool { _, ok := f.sets[id]; return !ok })
}

// read takes the kernel's tables as they are.
func (f *Firewall) read(ctx context.Context, l *Look) (drift []string, err error) {
	if l == nil {
		l = &Look{writes: f.writes}
		if err := f.tables(ctx, l); err != nil {
			return nil, err
		}
	}
	if !f.filter.known {
		f.wiresMu.Lock()
		f.postures.adopt(chains(l.v4[f.filter.name]))
		f.wiresMu.Unlock()
	}
	for _, t := range []struct {
		*table
		is   saved
		name string
	}{{f.filter, l.v4["filter"], "iptables filter"}, {f.mangle, l.v4["mangle"], "iptables mangle"}, {f.filter6, l.v6["filter"], "ip6tables filter"}} {
		for _, d := range t.adopt(t.is, l.writes) {
			drift = append(drift, t.name+": "+d)
		}
	}
	return drift, nil
}

func (f *Firewall) equalWires(ws []Wire) (drift []string, err error) {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	for _, e := range f.edits(ws, false) {
		want := map[ipset.Entry]bool{}
		for _, en := range e.Entries {
			want[en] = true
		}
		n, err := f.equal(e.Set, e.Type, want, nil)
		if err != nil {
			return drift, err
		}
		if n > 0 {
			drift = append(drift, fmt.Sprintf("set %s differed in %d elements", e.Set, n))
		}
	}
	return drift, nil
}
