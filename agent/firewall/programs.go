package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/taskwall/taskwall/events/work"
)

// Programs creates or replaces the postures in put and removes those in gone,
// all of it at once to a packet. No endpoint may have a posture in gone any
// more. A program that cannot be programmed is closed and
// returned as a failure; the others are in force. The error is for the whole
// batch: nothing of it was done, and it may be tried again.
func (f *Firewall) Programs(ctx context.Context, put []work.Program, gone []string) ([]work.Failure, error) {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	f.writes++
	if err := f.install(ctx, put, gone); err != nil {
		return nil, fmt.Errorf("programming %d postures: %w", len(put), err)
	}
	f.free()
	return f.failures(put), nil
}

func (f *Firewall) failures(of []work.Program) (failures []work.Failure) {
	for _, p := range of {
		if why := f.programs[p.ID].failed; why != nil {
			failures = append(failures, work.Failure{Key: "program " + p.ID, Error: why.Error()})
		}
	}
	return failures
}

// install puts programs in force, takes others out, and writes whatever else
// differs. On an error everything is wanted as it was before.
func (f *Firewall) install(ctx context.Context, put []work.Program, gone []string) error {
	if len(put)+len(gone) == 0 && f.filter.want[egress.name] != nil {
		return f.flush(ctx) // the trees are as they were
	}
	b := f.begin(put, gone)
	if err := f.narrow(b.staged, func(ps []*posture) error { return f.try(ctx, b, ps) }); err != nil {
		f.undo(b)
		return err
	}
	f.settle(gone, nil)
	return nil
}

// Replace is Programs for postures in gone that endpoints still have: heirs says
// which posture in put, none that the host has, takes the place of each. Its number
// goes over to the heir with the rules, so its endpoints are the heir's from the
// same moment on; until Moved, they may still be called by the old. Replace writes all of it at once, or nothing: done is false
// when the kernel refused some of it, and the caller has to go another way.
func (f *Firewall) Replace(ctx context.Context, put []work.Program, gone []string, heirs map[string]string) (done bool, failures []work.Failure, err error) {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	f.writes++
	for old, heir := range heirs {
		if f.programs[old] == nil || f.programs[heir] != nil || f.postures.index[old] == 0 || !named(heir, maxPostureID) {
			return false, nil, nil
		}
	}
	b := f.begin(put, gone)
	f.inherits = make(map[string]string, len(heirs))
	for old, heir := range heirs {
		f.inherits[heir] = old
	}
	err = f.try(ctx, b, b.staged)
	f.inherits = nil
	if err != nil {
		f.undo(b)
		if errors.Is(err, errUndecided) {
			return false, nil, fmt.Errorf("replacing %d postures: %w", len(gone), err)
		}
		return false, nil, nil
	}
	f.settle(gone, heirs)
	f.free()
	return true, f.failures(put), nil
}

// batch is a change of programs under way.
type batch struct {
	staged []*posture
	before map[string]*posture // what was wanted of each program that changes
}

// begin takes out what goes and compiles what comes.
func (f *Firewall) begin(put []work.Program, gone []string) *batch {
	b := &batch{make([]*posture, len(put)), map[string]*posture{}}
	for _, id := range gone {
		b.before[id] = f.programs[id]
		f.stage(id, nil)
	}
	for i, p := range put {
		b.before[p.ID] = f.programs[p.ID]
		b.staged[i] = f.compile(p)
	}
	return b
}

// try writes some of a batch. When the kernel does not take it, they are wanted
// as they were.
func (f *Firewall) try(ctx context.Context, b *batch, ps []*posture) error {
	for _, p := range ps {
		f.stage(p.program.ID, p)
	}
	f.number()
	err := f.flush(ctx)
	for _, p := range ps {
		if err != nil {
			f.stage(p.program.ID, b.before[p.program.ID])
		} else {
			b.before[p.program.ID] = p
		}
	}
	if err != nil {
		f.number()
	}
	return err
}

// undo wants everything as it was before what of the batch the kernel did not take.
func (f *Firewall) undo(b *batch) {
	for id, p := range b.before {
		f.stage(id, p)
	}
	f.number()
}

// narrow tries a batch as a whole, and when the kernel refuses it, by halves,
// down to the programs at fault, which it closes. The error says that even a
// closed posture could not be written, or that nothing was judged: then no
// program is at fault.
func (f *Firewall) narrow(ps []*posture, try func([]*posture) error) error {
	err := try(ps)
	if err == nil || len(ps) == 0 || errors.Is(err, errUndecided) {
		return err
	}
	if len(ps) == 1 {
		f.log.Warn("a posture cannot be programmed and is closed", "posture", ps[0].program.ID, "error", err)
		stand := closed(ps[0].program, err)
		stand.refused = true
		return try([]*posture{stand})
	}
	half := len(ps) / 2
	if err := f.narrow(ps[:half], try); err != nil {
		return err
	}
	return f.narrow(ps[half:], try)
}

// number gives every staged posture its place in the dispatch trees. Numbers
// without a posture stay taken until free: an endpoint may still have them.
func (f *Firewall) number() {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	for id, p := range f.programs {
		if !named(id, maxPostureID) || f.inherits[id] != "" {
			continue
		}
		if err := f.postures.assign(id); err != nil && p.failed == nil {
			p.failed = err // its endpoints get number 0: closed
		}
	}
	f.replant()
}

// settle lets endpoints use the postures that the kernel now has. Until Moved, who
// has a posture that went has its heir.
func (f *Firewall) settle(gone []string, heirs map[string]string) {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	f.heirs = heirs
	for old, heir := range heirs {
		f.postures.hand(old, heir)
	}
	for _, id := range gone {
		delete(f.ready, id)
	}
	for id := range f.programs {
		f.ready[id] = true
	}
}

// free gives back the numbers of postures that are no more. No endpoint may
// have one of them.
func (f *Firewall) free() {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	for id := range f.postures.index {
		if f.programs[id] == nil {
			f.postures.release(id)
		}
	}
}

// Ready says whether a posture's chains are in the kernel, if only those that
// close it.
func (f *Firewall) Ready(posture string) bool {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	return f.ready[f.standing(posture)]
}

// Moved says that no endpoint is called by the posture that it had before a Replace.
func (f *Firewall) Moved() {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	f.heirs = nil
}

// standing is the posture, or the heir that has its place. The caller holds wiresMu.
func (f *Firewall) standing(posture string) string { return cmp.Or(f.heirs[posture], posture) }

// Closed says whether a posture is closed because its program could not be
// programmed, or is not there.
func (f *Firewall) Closed(posture string) bool {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	p := f.programs[posture]
	return p == nil || p.failed != nil
}
