package firewall

import (
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
	staged := make([]*posture, len(put))
	before := map[string]*posture{}
	for _, id := range gone {
		before[id] = f.programs[id]
		f.stage(id, nil)
	}
	for i, p := range put {
		before[p.ID] = f.programs[p.ID]
		staged[i] = f.compile(p)
	}
	try := func(ps []*posture) error {
		for _, p := range ps {
			f.stage(p.program.ID, p)
		}
		f.number()
		err := f.flush(ctx)
		for _, p := range ps {
			if err != nil {
				f.stage(p.program.ID, before[p.program.ID])
			} else {
				before[p.program.ID] = p
			}
		}
		if err != nil {
			f.number()
		}
		return err
	}
	if err := f.narrow(staged, try); err != nil {
		for id, p := range before {
			f.stage(id, p)
		}
		f.number()
		return err
	}
	f.settle(gone)
	return nil
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
		if !named(id, maxPostureID) {
			continue
		}
		if err := f.postures.assign(id); err != nil && p.failed == nil {
			p.failed = err // its endpoints get number 0: closed
		}
	}
	f.replant()
}

// settle lets endpoints use the postures that the kernel now has.
func (f *Firewall) settle(gone []string) {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
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
	return f.ready[posture]
}

// Closed says whether a posture is closed because its program could not be
// programmed, or is not there.
func (f *Firewall) Closed(posture string) bool {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	p := f.programs[posture]
	return p == nil || p.failed != nil
}
