package policy

import (
	"maps"
	"slices"

	"github.com/taskwall/taskwall/policy/selector"
)

// PutEndpoint adds an endpoint or replaces the one with its ID.
func (r *Resolver) PutEndpoint(e Endpoint) {
	r.putEndpoint(r.item(e.ID), e)
}

// item is the endpoint of that ID, made if it is new.
func (r *Resolver) item(id string) *item {
	it := r.endpoints.get(id)
	if it == nil {
		it = &item{Endpoint: Endpoint{ID: id}, fresh: true}
		r.endpoints.add(it)
	}
	return it
}

func (r *Resolver) putEndpoint(it *item, e Endpoint) {
	next := item{Endpoint: e}
	next.labels, next.env = r.guards.apply(&e, r.environmentLabel)
	r.place(it, next)
	if it.fresh {
		r.soilItem(it) // also when nothing selects it: the Delta names it once
	}
}

// DeleteEndpoint removes an endpoint. The Delta does not name it, only what
// its leaving changes.
func (r *Resolver) DeleteEndpoint(id string) {
	it := r.endpoints.get(id)
	if it == nil {
		return
	}
	r.remove(it)
	r.endpoints.remove(it)
	r.soilItem(it)
}

// SetEnvironmentLabel names the label that an endpoint's environment is taken
// from, so that a LabelGuard on it also refuses the environment.
func (r *Resolver) SetEnvironmentLabel(name string) {
	if name == r.environmentLabel {
		return
	}
	r.environmentLabel = name
	r.regard()
}

// Selects reports whether a selector matches an endpoint as policies see it:
// without the claims that LabelGuards refuse.
func (r *Resolver) Selects(s *selector.Selector, endpoint string) bool {
	it := r.endpoints.get(endpoint)
	return it != nil && s.Matches(it)
}

// Guarded is an endpoint with only those claims that no LabelGuard refuses.
func (r *Resolver) Guarded(e Endpoint) Endpoint {
	e.Labels, e.Environment = r.guards.apply(&e, r.environmentLabel)
	return e
}

// Refusals are the claims of one endpoint that LabelGuards refuse, sorted by
// label.
func (r *Resolver) Refusals(endpoint string) []Refusal {
	if it := r.endpoints.get(endpoint); it != nil {
		return r.guards.refusals(&it.Endpoint)
	}
	return nil
}

// regard looks at every endpoint's claims again.
func (r *Resolver) regard() {
	for it := range r.endpoints.each() {
		r.putEndpoint(it, it.Endpoint)
	}
}

// place gives an item, new or old, what next holds, and lets the queries that
// it joins, leaves and stays in know.
func (r *Resolver) place(it *item, next item) {
	relabelled := it.env != next.env || !maps.Equal(it.labels, next.labels)
	if it.placed && !relabelled && it.Address == next.Address && slices.Equal(it.Ports, next.Ports) && slices.Equal(it.nets, next.nets) {
		it.Endpoint, it.labels = next.Endpoint, next.labels
		return
	}
	r.withdraw(it)
	if it.placed && relabelled {
		r.index.removeItem(it)
	}
	it.Endpoint, it.labels, it.env, it.nets, it.isSet = next.Endpoint, next.labels, next.env, next.nets, next.isSet
	if !it.placed || relabelled {
		it.placed = true
		r.match(it, r.index.addItem(it))
	}
	r.contribute(it)
}

func (r *Resolver) remove(it *item) {
	r.withdraw(it)
	it.gone = true
	r.index.removeItem(it)
	for _, q := range it.matched {
		delete(q.members, it)
	}
	it.matched = nil
}

// match makes an item a member of the queries that the index just found, and of
// no other.
func (r *Resolver) match(it *item, found []*query) {
	for _, q := range it.matched {
		if q.hit != r.index.round {
			delete(q.members, it)
			if len(q.policies) > 0 {
				r.soilItem(it)
			}
		}
	}
	for _, q := range found {
		if _, member := q.members[it]; !member {
			q.members[it] = struct{}{}
			if len(q.policies) > 0 {
				r.soilItem(it)
			}
		}
	}
	it.matched = slices.Clip(found)
}

func (r *Resolver) contribute(it *item) {
	for _, q := range it.matched {
		for _, s := range q.sets {
			it.give(s, s.add)
			r.note(s)
		}
	}
}

func (r *Resolver) withdraw(it *item) {
	for _, q := range it.matched {
		for _, s := range q.sets {
			it.give(s, s.remove)
			r.note(s)
		}
	}
}

// note remembers a set with touched members for the next Delta.
func (r *Resolver) note(s *set) {
	if len(s.before) > 0 {
		r.edited[s] = struct{}{}
	}
}

// soil marks all members of a query: their posture must be found again.
func (r *Resolver) soil(q *query) {
	for it := range q.members {
		r.soilItem(it)
	}
}

func (r *Resolver) soilItem(it *item) {
	if it.isSet || it.dirty {
		return
	}
	it.dirty = true
	r.dirty = append(r.dirty, it)
	if !it.touched {
		it.touched = true
		r.touched = append(r.touched, it)
	}
}

// query returns the query of a selector, making it if nothing uses it yet.
func (r *Resolver) query(sel *selector.Selector, text string) *query {
	if q := r.queries[text]; q != nil {
		return q
	}
	r.querySeq++
	q := &query{text: text, sel: sel, seq: r.querySeq, members: map[*item]struct{}{}}
	r.queries[text] = q
	r.index.addQuery(q)
	join := func(it *item) {
		if it.gone || !sel.Matches(it) {
			return
		}
		if _, member := q.members[it]; !member {
			q.members[it] = struct{}{}
			it.matched = append(it.matched, q)
		}
	}
	if !r.index.candidates(q, join) {
		for it := range r.endpoints.each() {
			join(it)
		}
		for _, it := range r.netsets {
			join(it)
		}
	}
	return q
}

// drop forgets a query that nothing uses any more.
func (r *Resolver) drop(q *query) {
	if len(q.policies) > 0 || len(q.sets) > 0 {
		return
	}
	for it := range q.members {
		it.matched = without(it.matched, q)
	}
	r.index.removeQuery(q)
	delete(r.queries, q.text)
}
