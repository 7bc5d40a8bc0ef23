package firewall

import (
	"context"
	"errors"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sync/errgroup"
)

// Look is what the kernel held at one time. Reading it takes seconds on a large
// host; a Sync that is given one need not read while changes wait for it. What was
// written after the look began, it does not know.
type Look struct {
	writes uint64
	v4, v6 map[string]saved
	sets   map[string]ipset.Set
	sums   map[string]sum // of the sets' elements
}

// Look reads the kernel's tables and the named sets, while others go on
// programming.
func (f *Firewall) Look(ctx context.Context, sets []string) (*Look, error) {
	f.rulesMu.Lock()
	l := &Look{writes: f.writes, sets: make(map[string]ipset.Set, len(sets)), sums: make(map[string]sum, len(sets))}
	f.rulesMu.Unlock()
	if err := f.tables(ctx, l); err != nil {
		return nil, err
	}
	f.lookMu.Lock()
	defer f.lookMu.Unlock()
	for _, id := range sets {
		s, err := f.reader.List(setName(id))
		if errors.Is(err, ipset.ErrAbsent) {
			continue // Sync makes it
		}
		if err != nil {
			return nil, err
		}
		l.sets[s.Name] = s
		var of sum
		for _, e := range s.Entries {
			of.add(e)
		}
		l.sums[s.Name] = of
	}
	return l, nil
}

// set is what the look knows of a set that was last written by a call.
func (l *Look) set(name string, wrote uint64) (s ipset.Set, ok bool) {
	if l == nil || wrote > l.writes {
		return s, false
	}
	s, ok = l.sets[name]
	return s, ok
}

// fewMembers is how many elements of sets a Sync may read itself: some
// milliseconds.
const fewMembers = 5000

// Fresh says whether a look spares Sync the reading of these sets: else large
// ones were written since, or made.
func (f *Firewall) Fresh(l *Look, sets map[string]*work.SetState) bool {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	n := 0
	for id, s := range sets {
		if f.wroteSet[setName(id)] > l.writes {
			n += len(s.Members)
		}
	}
	return n <= fewMembers
}

// tables reads the tables of both families.
func (f *Firewall) tables(ctx context.Context, l *Look) error {
	g, ctx := errgroup.WithContext(ctx)
	read := func(family int, all *map[string]saved) {
		if f.tools.backend == Legacy && legacyBare(family) {
			return
		}
		g.Go(func() (err error) { *all, err = f.tools.save(ctx, family); return err })
	}
	read(4, &l.v4)
	if f.ipv6 {
		read(6, &l.v6)
	}
	return g.Wait()
}
