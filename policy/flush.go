package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

func (it *item) postureID() string {
	if it.posture == nil {
		return ""
	}
	return it.posture.id
}

// settle finds the posture of every endpoint that may have another one, and
// brings the sets of postures that came into use and of those that left it up
// to date. It does not touch what the last Delta told.
func (r *Resolver) settle() {
	if len(r.dirty) == 0 {
		return
	}
	r.programs = nil
	var entered, left []*posture
	// Endpoints with the same policies' selectors share a posture: many of an
	// app come at once.
	var known map[string]*posture
	if len(r.dirty) > 1 {
		known = map[string]*posture{}
	}
	var key []byte
	var queries []*query
	for _, it := range r.dirty {
		it.dirty = false
		var next *posture
		if !it.gone {
			queries = queries[:0]
			for _, q := range it.matched {
				if len(q.policies) > 0 {
					queries = append(queries, q)
				}
			}
			slices.SortFunc(queries, func(a, b *query) int { return cmp.Compare(a.seq, b.seq) })
			key = key[:0]
			for _, q := range queries {
				key = binary.AppendUvarint(key, q.seq)
			}
			var ok bool
			if next, ok = known[string(key)]; !ok {
				next = r.findPosture(queries)
				if known != nil {
					known[string(key)] = next
				}
			}
		}
		if next == it.posture {
			continue
		}
		if old := it.posture; old != nil {
			if old.endpoints--; old.endpoints == 0 {
				left = append(left, old)
			}
		}
		if it.posture = next; next != nil {
			if next.endpoints++; next.endpoints == 1 {
				entered = append(entered, next)
			}
		}
	}
	r.dirty = r.dirty[:0]
	for _, p := range entered { // before those that leave: what both need stays
		if p.endpoints > 0 && !p.inUse {
			r.use(p)
		}
	}
	for _, p := range left {
		if p.endpoints == 0 {
			r.unuse(p)
		}
	}
}

// use brings a posture's policies, and so their sets, into use.
func (r *Resolver) use(p *posture) {
	p.inUse = true
	r.stale[p] = struct{}{}
	for _, pol := range p.policies {
		if pol.uses[p] = struct{}{}; len(pol.uses) == 1 {
			r.acquire(pol.compiled)
		}
	}
}

// unuse undoes use, once, and forgets the posture.
func (r *Resolver) unuse(p *posture) {
	if r.postures[p.id] != p {
		return
	}
	delete(r.postures, p.id)
	delete(r.stale, p)
	if p.told {
		r.gone = append(r.gone, p.id)
	}
	if !p.inUse {
		return
	}
	p.inUse = false
	for _, pol := range p.policies {
		delete(pol.uses, p)
		if len(pol.uses) == 0 {
			r.release(pol.compiled)
			r.forget(pol)
		}
	}
}

// acquire makes sure that the sets that a policy's rules name exist.
func (r *Resolver) acquire(c *compiled) {
	for i := range c.needs {
		spec := &c.needs[i]
		s := r.sets[spec.id]
		if s == nil {
			s = &set{setSpec: *spec, members: map[member]int32{}}
			r.sets[s.id] = s
			r.created[s] = struct{}{}
			for _, m := range s.nets {
				s.add(m)
			}
			if s.sel != nil {
				s.query = r.query(s.sel, s.sel.String())
				s.query.sets = append(s.query.sets, s)
				for it := range s.query.members {
					it.give(s, s.add)
				}
			}
		}
		s.users++
		delete(r.orphaned, s)
	}
}

// release undoes acquire. A set without users stays until the next Flush.
func (r *Resolver) release(c *compiled) {
	for i := range c.needs {
		s := r.sets[c.needs[i].id]
		if s.users--; s.users == 0 {
			r.orphaned[s] = struct{}{}
		}
	}
}

// Flush returns what changed since the last call, and takes it as told.
func (r *Resolver) Flush() Delta {
	r.settle()
	var d Delta
	for _, it := range r.touched {
		it.touched = false
		if id := it.postureID(); !it.gone && (it.fresh || id != it.told) {
			d.Endpoints = append(d.Endpoints, EndpointPosture{it.ID, id})
			it.fresh, it.told = false, id
		}
	}
	r.touched = r.touched[:0]
	for p := range r.stale {
		d.Programs = append(d.Programs, r.program(p))
		p.told = true
	}
	clear(r.stale)
	for _, id := range r.gone {
		// One that left use and came back since the last call is not gone.
		if r.postures[id] == nil && !slices.Contains(d.GonePrograms, id) {
			d.GonePrograms = append(d.GonePrograms, id)
		}
	}
	r.gone = nil
	r.flushSets(&d)
	slices.SortFunc(d.Endpoints, func(a, b EndpointPosture) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Programs, func(a, b work.Program) int { return strings.Compare(a.ID, b.ID) })
	slices.Sort(d.GonePrograms)
	return d
}

// forgetOrphans forgets the sets that nothing refers to any more, and returns
// those that the last Delta's receiver has.
func (r *Resolver) forgetOrphans() (gone []string) {
	for s := range r.orphaned {
		if s.told {
			gone = append(gone, s.id)
		}
		delete(r.edited, s)
		delete(r.created, s)
		delete(r.sets, s.id)
		if s.query != nil {
			s.query.sets = without(s.query.sets, s)
			r.drop(s.query)
		}
	}
	clear(r.orphaned)
	return gone
}

func (r *Resolver) flushSets(d *Delta) {
	d.GoneSets = r.forgetOrphans()
	for s := range r.created {
		d.Sets = append(d.Sets, s.work())
		s.told = true
	}
	clear(r.created)
	for s := range r.edited {
		if e, changed := s.edit(); changed {
			d.Members = append(d.Members, e)
		}
	}
	clear(r.edited)
	slices.Sort(d.GoneSets)
	slices.SortFunc(d.Members, func(a, b work.SetEdit) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Sets, func(a, b work.Set) int { return strings.Compare(a.ID, b.ID) })
}
