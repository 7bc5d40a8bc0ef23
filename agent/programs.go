package agent

import (
	"context"

	"github.com/taskwall/taskwall/events/work"
)

// putPrograms puts a change's programs in force. With legacy tables each write
// costs as much as all rules of the host, so what goes goes with the same one where
// no endpoint would notice. It returns the programs that are still to be removed,
// once no endpoint has them.
func (a *Agent) putPrograms(ctx context.Context, c *change, failed *[]work.Failure) (gone []string) {
	if len(c.programs) == 0 {
		return c.gonePrograms
	}
	now, heirs, later := a.succession(c)
	done, judged := false, true
	if len(now) > 0 {
		judged = a.offer(ctx, failed, func() (fs []work.Failure, err error) {
			done, fs, err = a.fw.Replace(ctx, c.programs, now, heirs)
			return fs, err
		})
	}
	switch {
	case done:
		return later
	case judged && a.programs(ctx, c.programs, nil, failed):
		return c.gonePrograms
	}
	return nil // endpoints may still have them; the check goes on from here
}

// succession says of the programs that go which no endpoint has, or whose
// endpoints all become those of one new program, their heir; the others must stay
// until their endpoints have moved.
func (a *Agent) succession(c *change) (now []string, heirs map[string]string, later []string) {
	if len(c.gonePrograms) == 0 {
		return nil, nil, nil
	}
	next, goes := map[string]work.Endpoint{}, map[string]bool{}
	for _, ep := range c.endpoints {
		next[ep.ID] = ep
	}
	for _, id := range c.gonePrograms {
		goes[id] = true
	}
	heirs, stay := map[string]string{}, map[string]bool{}
	a.mu.Lock()
	for id, ep := range a.endpoints { // also those that are not attached: they may be at any time
		if !goes[ep.Posture] {
			continue
		}
		to := next[id]
		heir, known := heirs[ep.Posture]
		if to.Address != ep.Address || to.Network != ep.Network || !c.fresh[to.Posture] || known && heir != to.Posture {
			stay[ep.Posture] = true
		}
		heirs[ep.Posture] = to.Posture
	}
	a.mu.Unlock()
	taken := map[string]bool{}
	for _, id := range c.gonePrograms {
		heir, used := heirs[id]
		if stay[id] || taken[heir] {
			delete(heirs, id)
			later = append(later, id)
			continue
		}
		taken[heir] = used
		now = append(now, id)
	}
	return now, heirs, later
}

// tries is how often a batch of rules is offered to the kernel before it is
// left to the check, which tries on.
const tries = 3

// programs says whether the kernel took them, or closed those that it refused.
func (a *Agent) programs(ctx context.Context, put []work.Program, gone []string, failed *[]work.Failure) bool {
	if len(put) == 0 && len(gone) == 0 {
		return true
	}
	return a.offer(ctx, failed, func() ([]work.Failure, error) { return a.fw.Programs(ctx, put, gone) })
}

// offer writes rules, again while they are not judged, and says whether they were.
func (a *Agent) offer(ctx context.Context, failed *[]work.Failure, write func() ([]work.Failure, error)) bool {
	for try := 1; ; try++ {
		fs, err := write()
		*failed = append(*failed, fs...)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if try == tries {
			a.hurry()
			*failed = append(*failed, work.Failure{Key: "programs", Error: err.Error()})
			return false
		}
		a.log.Warn("rules were not taken; trying again", "error", err)
	}
}
