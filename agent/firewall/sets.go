package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
)

// PutSets creates sets with their members, or makes those there equal to
// them, additions first. A set that cannot be made is a failure; programs that refer
// to it are then closed.
func (f *Firewall) PutSets(sets []work.Set) []work.Failure {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	var failures []work.Failure
	for _, s := range sets {
		want, err := elements(s.Type, slices.Values(s.Members))
		if err == nil {
			_, err = f.equalSet(s.ID, s.Type, want, nil)
		}
		if err != nil {
			failures = append(failures, work.Failure{Key: "set " + s.ID, Error: err.Error()})
		}
	}
	return failures
}

// equalSet makes the kernel's set hold just the elements in want, and says how
// many it had to change.
func (f *Firewall) equalSet(id string, t work.SetType, want map[ipset.Entry]bool, l *Look) (changed int, err error) {
	typ, err := setType(t)
	if err != nil {
		return 0, err
	}
	name := setName(id)
	if !named(id, maxSetID) {
		return 0, fmt.Errorf("set %q: that is no name of a set: %w", id, ErrRule)
	}
	replaced, err := f.create(name, typ, want)
	if err != nil {
		return replaced, err
	}
	delete(f.sums, name)
	changed, err = f.equal(name, typ, want, l)
	changed += replaced
	if err != nil {
		return changed, err
	}
	f.sets[id] = t
	var of sum
	for e := range want {
		of.add(e)
	}
	f.sums[name] = of
	return changed, nil
}

// unchangedSet says that the kernel's set is as it should be, without going
// through its elements. false: it may be or not.
func (f *Firewall) unchangedSet(id string, s *work.SetState, l *Look) bool {
	typ, err := setType(s.Type)
	name := setName(id)
	if err != nil || !named(id, maxSetID) || !f.untouched(name, len(s.Members), l) {
		return false
	}
	if f.bulk.Create(name, typ) != nil { // one of another type or other settings
		return false
	}
	f.sets[id] = s.Type
	return true
}

// create makes a set unless it is there. One of that name that somebody made
// in another way, with a timeout or less room, is replaced: the names are ours. It says how
// many elements it wrote.
func (f *Firewall) create(name string, typ ipset.Type, want map[ipset.Entry]bool) (wrote int, err error) {
	err = f.bulk.Create(name, typ)
	if !errors.Is(err, ipset.ErrOtherType) {
		return 0, err
	}
	f.log.Warn("a set of ours had another type or other settings and is replaced", "set", name)
	f.writing(name)
	return max(1, len(want)), f.bulk.Replace(name, typ, slices.Collect(maps.Keys(want)))
}

// writing says that a set is about to change: looks from before are not to be
// believed about it.
func (f *Firewall) writing(set string) {
	f.writes++
	f.wroteSet[set] = f.writes
}

// equal takes what the kernel's set holds from the look, when it knows.
func (f *Firewall) equal(name string, typ ipset.Type, want map[ipset.Entry]bool, l *Look) (changed int, err error) {
	have, looked := l.set(name, f.wroteSet[name])
	if !looked {
		if have, err = f.bulk.List(name); err != nil {
			return 0, err
		}
	}
	add := maps.Clone(want)
	var remove []ipset.Entry
	for _, e := range have.Entries {
		if want[e] {
			delete(add, e)
		} else if !replaced(e, want) {
			remove = append(remove, e)
		}
	}
	edits := []ipset.Edit{{Set: name, Type: typ, Entries: slices.Collect(maps.Keys(add))}}
	if len(remove) > 0 {
		edits = append(edits, ipset.Edit{Set: name, Type: typ, Remove: true, Entries: remove})
	}
	changed = len(add) + len(remove)
	if changed > 0 {
		f.writing(name)
	}
	return changed, f.bulk.Apply(edits...)
}

// replaced says that an element is wanted with another mark, or without its
// flags: adding that one
// replaces it, and a removal afterwards would remove the new one.
func replaced(e ipset.Entry, want map[ipset.Entry]bool) bool {
	if e.Iface == "" {
		e.Flags = 0
		return want[e]
	}
	for w := range want {
		if w.Prefix == e.Prefix && w.Iface == e.Iface {
			return true
		}
	}
	return false
}

// Edit adds members to sets, or removes them. still says whether a set wants a
// member after the whole work item: of two spellings of one element, the
// removal of one keeps it.
func (f *Firewall) Edit(edits []work.SetEdit, remove bool, still func(set, member string) bool) []work.Failure {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	var failures []work.Failure
	var batch []ipset.Edit
	for _, e := range edits {
		t, ok := f.sets[e.ID]
		if !ok {
			failures = append(failures, work.Failure{Key: "set " + e.ID, Error: "the host does not have it"})
			continue
		}
		typ, err := setType(t)
		if err != nil {
			panic("firewall: a set of an unknown type: " + err.Error()) // PutSets refused it
		}
		members := e.Add
		if remove {
			members = e.Remove
		}
		edit := ipset.Edit{Set: setName(e.ID), Type: typ, Remove: remove}
		whole := true
		for _, m := range members {
			es, err := entries(t, m)
			if err != nil {
				failures = append(failures, work.Failure{Key: "set " + e.ID, Error: err.Error()})
				whole = false
				continue
			}
			if remove {
				es = slices.DeleteFunc(es, func(el ipset.Entry) bool {
					return slices.ContainsFunc(spellings(el), func(o string) bool { return still(e.ID, o) })
				})
			}
			edit.Entries = append(edit.Entries, es...)
		}
		if !whole {
			delete(f.sums, edit.Set) // the check is to say it too
		}
		if len(edit.Entries) > 0 {
			f.writing(edit.Set)
			batch = append(batch, edit)
		}
	}
	if len(batch) == 0 {
		return failures
	}
	err := f.bulk.Apply(batch...)
	for _, e := range batch {
		if err == nil {
			f.changed(e)
		} else {
			delete(f.sums, e.Set)
		}
	}
	if err != nil {
		failures = append(failures, work.Failure{Key: "sets", Error: err.Error()})
	}
	return failures
}

// DropSets destroys sets that no program refers to any more.
func (f *Firewall) DropSets(ids []string) []work.Failure {
	f.rulesMu.Lock()
	defer f.rulesMu.Unlock()
	var failures []work.Failure
	for _, id := range ids {
		f.writing(setName(id))
		delete(f.sets, id)
		delete(f.sums, setName(id))
		if err := f.bulk.Destroy(setName(id)); err != nil {
			failures = append(failures, work.Failure{Key: "set " + id, Error: err.Error()})
		}
	}
	return failures
}

// sweepSets destroys the sets that have our prefix and are not wanted. One
// that a foreign rule refers to is left, and said.
func (f *Firewall) sweepSets(want map[string]*work.SetState) (swept []string, err error) {
	hs, err := f.bulk.Headers()
	if err != nil {
		return nil, err
	}
	for _, h := range hs {
		id, ours := strings.CutPrefix(h.Name, prefix)
		if !ours || h.Name == setSrc || h.Name == setDst || h.Name == setOwn {
			continue
		}
		if id, ok := strings.CutPrefix(id, "s-"); ok && want[id] != nil {
			continue
		}
		switch err := f.bulk.Destroy(h.Name); {
		case err == nil:
			swept = append(swept, fmt.Sprintf("set %s was there but not wanted", h.Name))
		case errors.Is(err, ipset.ErrInUse):
			f.log.Warn("a stale set is held by a rule that is not ours", "set", h.Name)
		default:
			return swept, err
		}
	}
	return swept, nil
}
