package policy

import (
	"hash/maphash"
	"iter"
	"maps"
)

// roster finds endpoints by ID. It is a map by the ID's hash, and not by the
// ID, because a map grows a table at a time: to hash a thousand long strings,
// each somewhere else in memory, takes longer than all else that an endpoint
// needs.
type roster struct {
	hash func(string) uint64
	all  map[uint64]*item // those of one hash are chained by item.twin
}

func newRoster() roster {
	seed := maphash.MakeSeed()
	return roster{func(id string) uint64 { return maphash.String(seed, id) }, map[uint64]*item{}}
}

// grow makes room for n endpoints more.
func (r *roster) grow(n int) {
	all := make(map[uint64]*item, len(r.all)+n)
	maps.Copy(all, r.all)
	r.all = all
}

// get is nil when there is none.
func (r *roster) get(id string) *item {
	it := r.all[r.hash(id)]
	for it != nil && it.ID != id {
		it = it.twin
	}
	return it
}

// add takes an item in whose ID is not there yet.
func (r *roster) add(it *item) {
	h := r.hash(it.ID)
	it.twin = r.all[h]
	r.all[h] = it
}

func (r *roster) remove(it *item) {
	h := r.hash(it.ID)
	first := r.all[h]
	switch {
	case first != it:
		for first.twin != it {
			first = first.twin
		}
		first.twin = it.twin
	case it.twin == nil:
		delete(r.all, h)
	default:
		r.all[h] = it.twin
	}
	it.twin = nil
}

// each visits all, in no order. The caller may remove the one that it is given.
func (r *roster) each() iter.Seq[*item] {
	return func(yield func(*item) bool) {
		for _, it := range r.all {
			for it != nil {
				next := it.twin
				if !yield(it) {
					return
				}
				it = next
			}
		}
	}
}
