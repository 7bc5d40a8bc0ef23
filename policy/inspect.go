package policy

import (
	"slices"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Order lists the policies in force as packets meet them: by tier, order and
// name. Staged policies are not among them.
func (r *Resolver) Order() []events.ResourceKey {
	list := make([]*policy, 0, len(r.policies))
	for _, p := range r.policies {
		if p.query != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, r.compare)
	keys := make([]events.ResourceKey, len(list))
	for i, p := range list {
		keys[i] = p.key
	}
	return keys
}

// Selected lists the endpoints that a policy selects, sorted by id.
func (r *Resolver) Selected(key events.ResourceKey) []string {
	p := r.policies[key]
	if p == nil || p.query == nil {
		return nil
	}
	var ids []string
	for it := range p.query.members {
		if !it.isSet {
			ids = append(ids, it.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Rules are a policy's rules in their working form, which name the sets that
// Set gives while the policy selects an endpoint.
func (r *Resolver) Rules(key events.ResourceKey) (ingress, egress []work.Rule) {
	if p := r.policies[key]; p != nil && p.query != nil {
		return p.ingress, p.egress
	}
	return nil, nil
}
