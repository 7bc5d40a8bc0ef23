package policy_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/oracle"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/resource"
)

// verdicts is how many verdicts are compared: TASKWALL_VERDICTS asks for more.
func verdicts(t *testing.T) int {
	text := os.Getenv("TASKWALL_VERDICTS")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TASKWALL_VERDICTS: %v", err)
	}
	return n
}

// TestVerdictsAreTheOracles compares the resolver with the oracle on random
// clusters. Both outcomes must be common, or the comparison proves little.
func TestVerdictsAreTheOracles(t *testing.T) {
	const perCluster = 200
	allowed, total := 0, verdicts(t)
	for seed := range uint64(total / perCluster) {
		g := policytest.Seeded(seed)
		c := g.Cluster(12, 8)
		allowed += compare(t, g, c, perCluster, fmt.Sprintf("seed %d", seed))
	}
	t.Logf("%d of %d allowed", allowed, total)
	if allowed < total/20 || allowed > total*19/20 {
		t.Errorf("%d of %d verdicts allow: the random clusters are too plain", allowed, total)
	}
}

func compare(t interface {
	Helper()
	Fatalf(string, ...any)
}, g *policytest.Gen, c policytest.Cluster, packets int, name string) (allowed int) {
	t.Helper()
	r, err := c.Resolver()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	truth, err := oracle.New(c.Resources, c.Endpoints)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for range packets {
		p := g.Packet(c.Endpoints)
		want := truth.Allowed(p)
		if got := r.Explain(p); got.Allowed != want {
			t.Fatalf("%s: %+v: the resolver says %v, the oracle %v\negress %+v\ningress %+v\n%s", name, p, got.Allowed, want, got.Egress, got.Ingress, c.Text())
		}
		if want {
			allowed++
		}
	}
	return allowed
}

// TestVerdictsShrink is the same with a source that finds small examples.
func TestVerdictsShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawn(t)
		compare(t, g, g.Cluster(4, 3), 20, "drawn")
	})
}

func drawn(t *rapid.T) *policytest.Gen {
	return &policytest.Gen{Pick: func(n int) int {
		if n == 1 {
			return 0
		}
		return rapid.IntRange(0, n-1).Draw(t, "n")
	}}
}

// receiver is who reads deltas: it knows only what they told.
type receiver struct {
	postures map[string]string
	programs map[string]work.Program
	sets     map[string]map[string]bool
}

func newReceiver() *receiver {
	return &receiver{map[string]string{}, map[string]work.Program{}, map[string]map[string]bool{}}
}

func (v *receiver) take(d policy.Delta) error {
	for _, e := range d.Endpoints {
		v.postures[e.ID] = e.Posture
	}
	for _, p := range d.Programs {
		v.programs[p.ID] = p
	}
	for _, id := range d.GonePrograms {
		if _, ok := v.programs[id]; !ok {
			return fmt.Errorf("program %s goes without having come", id)
		}
		delete(v.programs, id)
	}
	for _, s := range d.Sets {
		if v.sets[s.ID] != nil {
			return fmt.Errorf("set %s comes twice", s.ID)
		}
		v.sets[s.ID] = map[string]bool{}
		for _, m := range s.Members {
			v.sets[s.ID][m] = true
		}
	}
	for _, e := range d.Members {
		for _, m := range e.Add {
			if v.sets[e.ID] == nil || v.sets[e.ID][m] {
				return fmt.Errorf("set %s: %s is added wrongly", e.ID, m)
			}
			v.sets[e.ID][m] = true
		}
		for _, m := range e.Remove {
			if !v.sets[e.ID][m] {
				return fmt.Errorf("set %s: %s is removed wrongly", e.ID, m)
			}
			delete(v.sets[e.ID], m)
		}
	}
	for _, id := range d.GoneSets {
		if v.sets[id] == nil {
			return fmt.Errorf("set %s goes without having come", id)
		}
		delete(v.sets, id)
	}
	return nil
}

// complete checks that what programs and postures refer to is there, and that
// nothing is kept that nobody needs.
func (v *receiver) complete() error {
	used := map[string]bool{}
	for id, posture := range v.postures {
		if _, ok := v.programs[posture]; posture != "" && !ok {
			return fmt.Errorf("endpoint %s has posture %s without a program", id, posture)
		}
		used[posture] = true
	}
	needed := map[string]bool{}
	for id, p := range v.programs {
		if !used[id] {
			return fmt.Errorf("program %s without endpoints", id)
		}
		for _, s := range p.SetIDs() {
			needed[s] = true
			if v.sets[s] == nil {
				return fmt.Errorf("program %s names set %s, which is not there", id, s)
			}
		}
	}
	for s := range v.sets {
		if !needed[s] {
			return fmt.Errorf("set %s that no program names", s)
		}
	}
	return nil
}

// TestDeltasAddUp changes a cluster at random, many changes to a Flush. What
// the deltas add up to must be what a new resolver gives at once, and the
// oracle must agree. Now and then a resolver that is loaded with all there is
// goes on in the place of the first, and nobody may notice.
func TestDeltasAddUp(t *testing.T) {
	rounds := verdicts(t) / 6500
	for seed := range uint64(rounds) {
		changeAndCompare(t, policytest.Seeded(1_000_000+seed), 25, fmt.Sprintf("seed %d", seed))
	}
}

func TestDeltasShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { changeAndCompare(t, drawn(t), 4, "drawn") })
}

func changeAndCompare(t interface {
	Helper()
	Fatalf(string, ...any)
}, g *policytest.Gen, flushes int, name string) {
	t.Helper()
	r, v := policy.NewResolver(), newReceiver()
	resources := map[events.ResourceKey]events.Resource{}
	endpoints := map[string]policy.Endpoint{}
	for step := range flushes {
		for range 1 + g.Pick(6) {
			change(t, g, r, v, resources, endpoints)
		}
		if err := v.take(r.Flush()); err != nil {
			t.Fatalf("%s, step %d: %v", name, step, err)
		}
		if err := v.complete(); err != nil {
			t.Fatalf("%s, step %d: %v", name, step, err)
		}
		c := policytest.Cluster{
			Resources: r.Resources(),
			Endpoints: slices.Collect(maps.Values(endpoints)), // in whatever order
		}
		if len(c.Resources) != len(resources) {
			t.Fatalf("%s, step %d: %d resources, want %d", name, step, len(c.Resources), len(resources))
		}
		again, err := c.Resolver()
		if err != nil {
			t.Fatalf("%s, step %d: replaying: %v", name, step, err)
		}
		fresh := newReceiver()
		if err := fresh.take(again.Flush()); err != nil {
			t.Fatalf("%s, step %d: %v", name, step, err)
		}
		if diff := cmp.Diff(fresh, v, cmp.AllowUnexported(receiver{})); diff != "" {
			t.Fatalf("%s, step %d: a new resolver (-) and the deltas' sum (+) differ:\n%s\n%s", name, step, diff, c.Text())
		}
		if d := r.Flush(); !cmp.Equal(d, policy.Delta{}) {
			t.Fatalf("%s, step %d: a second Flush tells %+v", name, step, d)
		}
		if g.Pick(3) == 0 {
			r = policy.NewResolver()
			if err := r.Apply(c.Resources, nil); err != nil {
				t.Fatalf("%s, step %d: %v", name, step, err)
			}
			for i, posture := range r.Load(c.Endpoints) {
				if e := c.Endpoints[i]; posture != v.postures[e.ID] {
					t.Fatalf("%s, step %d: endpoint %s is loaded with posture %q, was told %q\n%s", name, step, e.ID, posture, v.postures[e.ID], c.Text())
				}
			}
			if d := r.Flush(); !cmp.Equal(d, policy.Delta{}) {
				t.Fatalf("%s, step %d: loaded, yet a Flush tells %+v", name, step, d)
			}
		}
		truth, err := oracle.New(c.Resources, c.Endpoints)
		if err != nil {
			t.Fatalf("%s, step %d: %v", name, step, err)
		}
		talking := slices.SortedFunc(maps.Values(endpoints), func(a, b policy.Endpoint) int { return strings.Compare(a.ID, b.ID) })
		talking = slices.DeleteFunc(talking, func(e policy.Endpoint) bool { return !e.Address.IsValid() })
		for range 10 {
			p := g.Packet(talking)
			if got, want := r.Verdict(p).Allowed, truth.Allowed(p); got != want {
				t.Fatalf("%s, step %d: %+v: the resolver says %v, the oracle %v\n%s", name, step, p, got, want, c.Text())
			}
		}
	}
}

// change makes one random change to the resolver and to the model of it.
func change(t interface{ Fatalf(string, ...any) }, g *policytest.Gen, r *policy.Resolver, v *receiver, resources map[events.ResourceKey]events.Resource, endpoints map[string]policy.Endpoint) {
	i := g.Pick(8)
	id := g.Endpoint(i).ID
	switch g.Pick(9) {
	case 0, 1, 2:
		e := g.Endpoint(i)
		if old, ok := endpoints[id]; ok && g.Pick(3) == 0 { // keep the labels, lose the address or ports
			e.Labels, e.Environment = old.Labels, old.Environment
			if g.Pick(2) == 0 {
				e.Address = policy.Endpoint{}.Address
			}
		}
		endpoints[id] = e
		r.PutEndpoint(e)
	case 3:
		delete(endpoints, id)
		delete(v.postures, id)
		r.DeleteEndpoint(id)
	default:
		var put []events.Resource
		for range 1 + g.Pick(3) {
			next := g.Policy(i)
			switch g.Pick(6) {
			case 1:
				next = g.Set(i)
			case 2:
				next = g.Tier(append(policytest.Tiers, resource.DefaultTier)[i%3])
			case 3:
				next = g.Guard(i % 2)
			}
			if !slices.ContainsFunc(put, func(o events.Resource) bool { return o.ResourceKey == next.ResourceKey }) {
				put = append(put, next)
			}
			i = g.Pick(8)
		}
		var del []events.ResourceKey
		if old := slices.SortedFunc(maps.Keys(resources), func(a, b events.ResourceKey) int { return strings.Compare(a.String(), b.String()) }); len(old) > 0 && g.Pick(2) == 1 {
			del = append(del, old[g.Pick(len(old))])
		}
		if err := r.Apply(put, del); err != nil {
			return // a tier that does not exist: refused as a whole
		}
		for _, k := range del {
			delete(resources, k)
		}
		for _, p := range put {
			resources[p.ResourceKey] = p
		}
	}
}
