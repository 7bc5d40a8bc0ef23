package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

// Resolver keeps each endpoint's posture, each posture's program and each
// set's members. It is not safe for concurrent use.
type Resolver struct {
	environmentLabel string

	resources map[events.ResourceKey]events.Resource
	tiers     map[string]tier
	policies  map[events.ResourceKey]*policy
	staged    map[events.ResourceKey]*compiled
	netsets   map[events.ResourceKey]*item
	guards    guardSet
	pools     map[string]Pool
	bgp       map[events.ResourceKey]resource.Typed

	endpoints roster
	index     index
	queries   map[string]*query // by canonical selector
	querySeq  uint64
	postures  map[string]*posture
	sets      map[string]*set

	dirty   []*item // whose posture must be found again
	touched []*item // that the next Delta may name
	// What the next Delta must look at. None of these decides an id or an order.
	stale    map[*posture]struct{} // programs that may have changed
	gone     []string              // programs that were told and are no more
	created  map[*set]struct{}     // sets that were not told yet
	edited   map[*set]struct{}     // sets with touched members
	orphaned map[*set]struct{}     // sets that nothing refers to any more

	programs map[*posture]*work.Program // that verdicts have looked at; nil after any change
}

// NewResolver returns a resolver that knows nothing: every endpoint is closed.
func NewResolver() *Resolver {
	return &Resolver{
		environmentLabel: events.DefaultSettings().EnvironmentLabel,
		resources:        map[events.ResourceKey]events.Resource{},
		tiers:            map[string]tier{},
		policies:         map[events.ResourceKey]*policy{},
		staged:           map[events.ResourceKey]*compiled{},
		netsets:          map[events.ResourceKey]*item{},
		guards:           guardSet{},
		pools:            map[string]Pool{},
		bgp:              map[events.ResourceKey]resource.Typed{},
		endpoints:        newRoster(),
		index:            index{keys: map[string]*labelKey{}},
		queries:          map[string]*query{},
		postures:         map[string]*posture{},
		sets:             map[string]*set{},
		stale:            map[*posture]struct{}{},
		created:          map[*set]struct{}{},
		edited:           map[*set]struct{}{},
		orphaned:         map[*set]struct{}{},
	}
}

// Resources are all resources in force, sorted by key. Applying them to a new
// Resolver, and putting the same endpoints, gives an equal one.
func (r *Resolver) Resources() []events.Resource {
	return slices.SortedFunc(maps.Values(r.resources), func(a, b events.Resource) int {
		return resource.Compare(a.ResourceKey, b.ResourceKey)
	})
}

// Resource is one resource in force.
func (r *Resolver) Resource(key events.ResourceKey) (events.Resource, bool) {
	raw, ok := r.resources[key]
	return raw, ok
}

// Warnings says which rules of the policies can match no packet, such as those
// for IPv6, and are left out of the programs.
func (r *Resolver) Warnings() []resource.Problem {
	var all resource.Problems
	add := func(key events.ResourceKey, c *compiled) {
		raw := r.resources[key]
		for _, w := range c.warnings {
			w.File, w.Line = raw.File, raw.Line
			all = append(all, w)
		}
	}
	for key, p := range r.policies {
		if p.query != nil {
			add(key, p.compiled)
		}
	}
	for key, c := range r.staged {
		add(key, c)
	}
	slices.SortFunc(all, func(a, b resource.Problem) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Pools are the IPPools in force, sorted by name.
func (r *Resolver) Pools() []Pool {
	pools := slices.Collect(maps.Values(r.pools))
	sortPools(pools)
	return pools
}

// Posture is the posture of an endpoint, "" when no policy selects it or it is
// not known.
func (r *Resolver) Posture(endpoint string) string {
	r.settle()
	if it := r.endpoints.get(endpoint); it != nil {
		return it.postureID()
	}
	return ""
}

// Program is what a posture allows; false when no endpoint has the posture.
// The rules are shared: they must not be changed.
func (r *Resolver) Program(posture string) (work.Program, bool) {
	r.settle()
	p := r.postures[posture]
	if p == nil {
		return work.Program{}, false
	}
	return r.program(p), true
}

// Set is a set with all its members, sorted; false when no program in use
// refers to it.
func (r *Resolver) Set(id string) (work.Set, bool) {
	r.settle()
	s := r.sets[id]
	if s == nil || s.users == 0 {
		return work.Set{}, false
	}
	return s.work(), true
}
