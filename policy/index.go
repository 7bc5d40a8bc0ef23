package policy

import (
	"slices"

	"github.com/taskwall/taskwall/policy/selector"
)

// query is a selector in use. It has at least one of policies and sets.
type query struct {
	text     string
	sel      *selector.Selector
	seq      uint64 // tells queries of this process apart; decides nothing
	members  map[*item]struct{}
	policies []*policy // whose selector it is
	sets     []*set    // whose members it chooses

	terms  []selector.Term // where the index has it; nil: everywhere
	misses int             // items that a term led to but that do not match
	seen   uint64          // the round in which it was last a candidate
	hit    uint64          // the round in which it last matched
}

// index finds the queries that an item may match and the items that a query may
// match, each by labels:
//
//	label key ─▶ value ─▶ posting: items that carry it, queries that require it
//	         └─▶ queries that require the key with whatever value
//
// A query stands under the cheapest of the labels that it requires, by how many
// items carry them; when it is a candidate in vain too often it is placed
// anew. Thus a change of one item costs as much as there are queries that
// nearly match it, and a new query as much as there are items that nearly do.
type index struct {
	keys  map[string]*labelKey
	loose []*query // that require no label
	round uint64
}

type labelKey struct {
	values  map[string]*posting
	queries []*query
	live    int // items that carry the key
}

// posting lists the items that carry a label. An item that no longer does
// stays in the list until there are more such than others: a removal needs no
// search. Whoever reads the list tests the item anyway.
type posting struct {
	items   []posted
	live    int
	queries []*query
}

// posted is an item as it was when it was put under its labels: since it was
// taken from them, it has another term.
type posted struct {
	it   *item
	term uint32
}

// maxMisses is how many vain candidacies make the index look for a better
// place for a query. Looking costs about as much as that many candidacies.
const maxMisses = 32

func (x *index) key(name string) *labelKey {
	k := x.keys[name]
	if k == nil {
		k = &labelKey{values: map[string]*posting{}}
		x.keys[name] = k
	}
	return k
}

func (k *labelKey) posting(value string) *posting {
	p := k.values[value]
	if p == nil {
		p = &posting{}
		k.values[value] = p
	}
	return p
}

// sweep forgets a label that nothing carries or requires.
func (x *index) sweep(key, value string) {
	k := x.keys[key]
	if k == nil {
		return
	}
	if p := k.values[value]; p != nil && p.live == 0 && len(p.queries) == 0 {
		delete(k.values, value)
	}
	if len(k.values) == 0 && len(k.queries) == 0 {
		delete(x.keys, key)
	}
}

// eachLabel visits the labels as selectors see them.
func (it *item) eachLabel(visit func(key, value string)) {
	if it.env != "" {
		visit(selector.Namespace, it.env)
	}
	for k, v := range it.labels {
		if k != selector.Namespace {
			visit(k, v)
		}
	}
}

// addItem puts an item under its labels, and returns the queries that match it,
// in no order. Each has its hit set to the round that is now.
func (x *index) addItem(it *item) []*query {
	x.round++
	var found, misplaced []*query
	try := func(list []*query) {
		for _, q := range list {
			if q.seen == x.round {
				continue
			}
			q.seen = x.round
			if q.sel.Matches(it) {
				q.hit = x.round
				found = append(found, q)
			} else if q.misses++; q.misses > maxMisses {
				misplaced = append(misplaced, q)
			}
		}
	}
	try(x.loose)
	it.eachLabel(func(key, value string) {
		k := x.key(key)
		k.live++
		p := k.posting(value)
		p.items = append(p.items, posted{it, it.term})
		p.live++
		try(k.queries)
		try(p.queries)
	})
	for _, q := range misplaced {
		q.misses = 0
		if q.terms == nil {
			continue
		}
		if better, _ := q.sel.Cover(x.cost); !slices.Equal(better, q.terms) {
			x.removeQuery(q)
			x.addQuery(q)
		}
	}
	return found
}

// removeItem must be called while the item still has the labels that it was
// added with.
func (x *index) removeItem(it *item) {
	it.term++
	it.eachLabel(func(key, value string) {
		k := x.keys[key]
		p := k.values[value]
		p.live--
		k.live--
		if p.live == 0 {
			p.items = nil
			x.sweep(key, value)
		} else if len(p.items) > 2*p.live+16 {
			p.compact()
		}
	})
}

// compact drops the items that no longer carry the label.
func (p *posting) compact() {
	p.items = slices.DeleteFunc(p.items, func(at posted) bool { return at.term != at.it.term })
	if cap(p.items) > 4*len(p.items) {
		p.items = slices.Clip(p.items) // the next one is put into a list of a size that fits
	}
}

// cost estimates how often a query under this term would be a candidate in
// vain: by the items that carry it, and while there are none by how many other
// queries require it too.
func (x *index) cost(t selector.Term) int {
	k := x.keys[t.Key]
	if k == nil {
		return 0
	}
	if t.Any {
		return k.live + len(k.queries)
	}
	if p := k.values[t.Value]; p != nil {
		return p.live + len(p.queries)
	}
	return 0
}

func (x *index) addQuery(q *query) {
	terms, ok := q.sel.Cover(x.cost)
	if !ok {
		q.terms = nil
		x.loose = append(x.loose, q)
		return
	}
	if terms == nil {
		terms = []selector.Term{} // matches nothing, such as "a in {}"
	}
	q.terms = terms
	for _, t := range terms {
		if t.Any {
			k := x.key(t.Key)
			k.queries = append(k.queries, q)
		} else {
			p := x.key(t.Key).posting(t.Value)
			p.queries = append(p.queries, q)
		}
	}
}

func (x *index) removeQuery(q *query) {
	if q.terms == nil {
		x.loose = without(x.loose, q)
		return
	}
	for _, t := range q.terms {
		if t.Any {
			x.keys[t.Key].queries = without(x.keys[t.Key].queries, q)
		} else {
			p := x.keys[t.Key].values[t.Value]
			p.queries = without(p.queries, q)
		}
	}
	for _, t := range q.terms { // afterwards: two terms may share a key
		x.sweep(t.Key, t.Value)
	}
}

// without removes one value from a list whose order does not matter.
func without[T comparable](list []T, v T) []T {
	i := slices.Index(list, v)
	if i < 0 {
		return list
	}
	var zero T
	last := len(list) - 1
	list[i], list[last] = list[last], zero
	return list[:last]
}

// candidates visits every item that the query may match, some perhaps twice; it
// is false when that is every item there is.
func (x *index) candidates(q *query, visit func(*item)) bool {
	if q.terms == nil {
		return false
	}
	for _, t := range q.terms {
		k := x.keys[t.Key]
		if t.Any {
			for _, p := range k.values {
				for _, at := range p.items {
					visit(at.it)
				}
			}
			continue
		}
		for _, at := range k.values[t.Value].items {
			visit(at.it)
		}
	}
	return true
}
