package policy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/resource"
)

// change is one resource of an Apply, checked.
type change struct {
	key      events.ResourceKey
	raw      events.Resource
	typed    resource.Typed // nil when the resource is deleted, or when only its place in the files has changed
	moved    bool           // only its place in the files has changed
	compiled *compiled      // of a policy
	pool     Pool           // of an IPPool
}

// Apply puts and deletes resources. It is all or nothing: an error, which is
// resource.Problems, says everything that is wrong and nothing has changed.
// Deleting what is not there is no error.
func (r *Resolver) Apply(put []events.Resource, del []events.ResourceKey) error {
	changes, err := r.check(put, del)
	if err != nil {
		return err
	}
	r.programs = nil
	guards := false
	for _, c := range changes {
		if c.typed == nil && !c.moved {
			delete(r.resources, c.key)
		} else {
			r.resources[c.key] = c.raw
		}
		if c.moved {
			continue
		}
		switch c.key.Kind {
		case resource.KindTier:
			r.putTier(c)
		case resource.KindNetworkPolicy, resource.KindGlobalNetworkPolicy:
			r.putPolicy(c)
		case resource.KindStagedNetworkPolicy, resource.KindStagedGlobalNetworkPolicy:
			if c.typed == nil {
				delete(r.staged, c.key)
			} else {
				r.staged[c.key] = c.compiled
			}
		case resource.KindNetworkSet, resource.KindGlobalNetworkSet:
			r.putSet(c)
		case resource.KindIPPool:
			if c.typed == nil {
				delete(r.pools, c.key.Name)
			} else {
				r.pools[c.key.Name] = c.pool
			}
		case resource.KindLabelGuard:
			guards = true
			r.putGuard(c)
		case resource.KindBGPConfiguration, resource.KindBGPPeer, resource.KindBGPFilter:
			if c.typed == nil {
				delete(r.bgp, c.key)
			} else {
				r.bgp[c.key] = c.typed
			}
		}
	}
	if guards {
		r.regard()
	}
	return nil
}

// check parses what is put and checks that the result hangs together. It
// leaves out what would change nothing.
func (r *Resolver) check(put []events.Resource, del []events.ResourceKey) ([]change, error) {
	var problems resource.Problems
	next := make(map[events.ResourceKey]change, len(put)+len(del))
	for _, k := range del {
		if _, exists := r.resources[k]; exists {
			next[k] = change{key: k}
		}
	}
	seen := make(map[events.ResourceKey]bool, len(put))
	parsed := parseAll(put, func(raw *events.Resource) bool {
		old, exists := r.resources[raw.ResourceKey]
		return !exists || !bytes.Equal(old.Body, raw.Body)
	})
	for i, raw := range put {
		if seen[raw.ResourceKey] {
			problems = append(problems, resource.Problem{File: raw.File, Line: raw.Line,
				Message: fmt.Sprintf("%s is put twice", raw.ResourceKey), Instead: "remove one of them"})
			continue
		}
		seen[raw.ResourceKey] = true
		c, err := parsed[i].change, parsed[i].err
		if parsed[i].same {
			next[raw.ResourceKey] = change{key: raw.ResourceKey, raw: raw, moved: true}
			continue
		}
		if err != nil {
			var several resource.Problems
			if !errors.As(err, &several) {
				several = resource.Problems{{File: raw.File, Line: raw.Line, Message: err.Error()}}
			}
			problems = append(problems, several...)
		}
		next[raw.ResourceKey] = c
	}
	problems = append(problems, r.checkTiers(next)...)
	problems = append(problems, r.checkFilters(next)...)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(next), func(a, b change) int { return resource.Compare(a.key, b.key) }), nil
}

// parsed is what became of one resource that is put.
type parsed struct {
	change change
	err    error
	same   bool // its body is the one in force: it was not looked at
}

// parseAll parses the resources that differ from those in force. It is most of
// the work of a large change, so all processors share it; the results do not
// depend on who did what.
func parseAll(put []events.Resource, differs func(*events.Resource) bool) []parsed {
	out := make([]parsed, len(put))
	parse := func(i int) {
		if out[i].same = !differs(&put[i]); !out[i].same {
			out[i].change, out[i].err = newChange(put[i])
		}
	}
	workers := min(runtime.GOMAXPROCS(0), len(put)/64)
	if workers < 2 {
		for i := range put {
			parse(i)
		}
		return out
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(put); i += workers {
				parse(i)
			}
		})
	}
	wg.Wait()
	return out
}

func newChange(raw events.Resource) (change, error) {
	c := change{key: raw.ResourceKey, raw: raw}
	typed, err := resource.Parse(raw)
	if err != nil {
		return c, err
	}
	c.typed = typed
	switch t := typed.(type) {
	case *resource.Policy:
		c.compiled, err = compile(t)
	case *resource.Pool:
		c.pool, err = newPool(t)
	}
	return c, err
}

// checkTiers finds policies whose tier would not exist.
func (r *Resolver) checkTiers(next map[events.ResourceKey]change) resource.Problems {
	tiers := map[string]bool{resource.DefaultTier: true}
	for name := range r.tiers {
		tiers[name] = true
	}
	deleted := false
	for k, c := range next {
		if k.Kind == resource.KindTier {
			gone := c.typed == nil && !c.moved
			tiers[k.Name] = !gone || k.Name == resource.DefaultTier
			deleted = deleted || gone
		}
	}
	var problems resource.Problems
	lacks := func(raw events.Resource, tier string) {
		if !tiers[tier] {
			problems = append(problems, resource.Problem{File: raw.File, Line: raw.Line, Field: "spec.tier",
				Message: fmt.Sprintf("%s is in tier %s, which does not exist", raw.ResourceKey, tier), Instead: "add a Tier of this name, or remove the field for the default tier"})
		}
	}
	for _, c := range next {
		if c.compiled != nil {
			lacks(c.raw, c.compiled.tier)
		}
	}
	if deleted { // who else is in it?
		for k, p := range r.policies {
			if c, changed := next[k]; p.query != nil && (!changed || c.moved) {
				lacks(r.resources[k], p.tier)
			}
		}
		for k, p := range r.staged {
			if c, changed := next[k]; !changed || c.moved {
				lacks(r.resources[k], p.tier)
			}
		}
	}
	return problems
}

func (r *Resolver) putTier(c change) {
	old := r.tierOf(c.key.Name)
	if c.typed == nil {
		delete(r.tiers, c.key.Name)
	} else {
		r.tiers[c.key.Name] = newTier(c.typed.(*resource.Tier))
	}
	now := r.tierOf(c.key.Name)
	if now == old {
		return
	}
	for _, p := range r.policies {
		if p.tier != c.key.Name {
			continue
		}
		if now.order != old.order && p.query != nil {
			r.soil(p.query)
		}
		if now.pass != old.pass {
			r.spoil(p)
		}
	}
}

func (r *Resolver) putPolicy(c change) {
	p := r.policies[c.key]
	if c.compiled == nil {
		if p != nil {
			r.detach(p)
			r.forget(p)
		}
		return
	}
	if p == nil {
		p = &policy{key: c.key, text: c.key.String(), name: c.key.Name, uses: map[*posture]struct{}{}}
		if c.key.Namespace != "" {
			p.name = c.key.Namespace + "/" + c.key.Name
		}
		r.policies[c.key] = p
	}
	old := p.compiled
	p.compiled = c.compiled
	if len(p.uses) > 0 { // the new first, so that what both need stays
		r.acquire(p.compiled)
		r.release(old)
	}
	if text := p.sel.String(); p.query == nil || p.query.text != text {
		r.detach(p)
		p.query = r.query(p.sel, text)
		p.query.policies = append(p.query.policies, p)
		r.soil(p.query)
	} else if old.tier != p.tier || old.order != p.order {
		r.soil(p.query)
	}
	if old != nil && (old.tier != p.tier || old.hasIn != p.hasIn || old.hasOut != p.hasOut ||
		!reflect.DeepEqual(old.ingress, p.ingress) || !reflect.DeepEqual(old.egress, p.egress)) {
		r.spoil(p)
	}
}

// detach takes a policy from its selector's members.
func (r *Resolver) detach(p *policy) {
	q := p.query
	if q == nil {
		return
	}
	p.query = nil
	q.policies = without(q.policies, p)
	r.soil(q)
	r.drop(q)
}

// forget removes a deleted policy once no posture has it.
func (r *Resolver) forget(p *policy) {
	if p.query == nil && len(p.uses) == 0 {
		delete(r.policies, p.key)
	}
}

// spoil marks the programs that have the policy as perhaps changed.
func (r *Resolver) spoil(p *policy) {
	for use := range p.uses {
		r.stale[use] = struct{}{}
	}
}

func (r *Resolver) putSet(c change) {
	it := r.netsets[c.key]
	if c.typed == nil {
		if it != nil {
			r.remove(it)
			delete(r.netsets, c.key)
		}
		return
	}
	s := c.typed.(*resource.Set)
	next := item{Endpoint: Endpoint{ID: c.key.String(), Labels: s.Metadata.Labels, Environment: s.Metadata.Namespace}, isSet: true}
	next.labels, next.env = s.Metadata.Labels, s.Metadata.Namespace
	for _, text := range s.Spec.Nets {
		if p, err := resource.ParseNet(text); err == nil { // checked before
			next.nets = append(next.nets, netMembers(p)...)
		}
	}
	if it == nil {
		it = &item{}
		r.netsets[c.key] = it
	}
	r.place(it, next)
}

func (r *Resolver) putGuard(c change) {
	label := func(g *resource.Guard) bool { return g.Metadata.Name == c.key.Name }
	for l, guards := range r.guards {
		if guards = slices.DeleteFunc(guards, label); len(guards) == 0 {
			delete(r.guards, l)
		} else {
			r.guards[l] = guards
		}
	}
	if c.typed == nil {
		return
	}
	g := c.typed.(*resource.Guard)
	guards := append(r.guards[g.Spec.Label], g)
	slices.SortFunc(guards, func(a, b *resource.Guard) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	r.guards[g.Spec.Label] = guards
}
