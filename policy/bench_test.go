package policy_test

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/policytest"
)

// sizes are the workloads of the targets, by the names that benchmarks have.
var sizes = []struct {
	name string
	policytest.Workload
}{
	{"10kx1k", policytest.Workload{Endpoints: 10_000, Policies: 1_000}},
	{"10kx10k", policytest.Workload{Endpoints: 10_000, Policies: 10_000}},
	{"100kx1k", policytest.Workload{Endpoints: 100_000, Policies: 1_000}},
	{"100kx10k", policytest.Workload{Endpoints: 100_000, Policies: 10_000}},
	{"100kx10k-compound", policytest.Workload{Endpoints: 100_000, Policies: 10_000, Compound: true}},
}

func fill(tb testing.TB, w policytest.Workload) *policy.Resolver {
	tb.Helper()
	r := policy.NewResolver()
	if err := r.Apply(w.AllPolicies(), nil); err != nil {
		tb.Fatal(err)
	}
	for i := range w.Endpoints {
		r.PutEndpoint(w.Endpoint(i))
	}
	return r
}

// BenchmarkInitial is a whole cluster at once, from the resources' JSON to the
// first Delta, which holds every posture, program and set.
func BenchmarkInitial(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			policies, endpoints := s.AllPolicies(), s.AllEndpoints()
			b.ReportAllocs()
			for b.Loop() {
				r := policy.NewResolver()
				if err := r.Apply(policies, nil); err != nil {
					b.Fatal(err)
				}
				for _, e := range endpoints {
					r.PutEndpoint(e)
				}
				if d := r.Flush(); len(d.Endpoints) != s.Endpoints || len(d.Programs) == 0 {
					b.Fatalf("%d endpoints, %d programs", len(d.Endpoints), len(d.Programs))
				}
			}
		})
	}
}

// quantile reports the p-quantile of times as a metric in nanoseconds.
func quantile(b *testing.B, times []time.Duration, p float64, unit string) {
	slices.Sort(times)
	b.ReportMetric(float64(times[int(math.Ceil(p*float64(len(times))))-1]), unit)
}

// steps of a computation without memory, about as long as a task's addition.
const steps = 5000

// compute takes as long each time, but for what the machine does besides: its
// quantiles are the least that any work of the length can have.
func compute(x uint64) uint64 {
	for range steps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// BenchmarkTaskAdded is one task of an existing app added, up to its Delta;
// raw: a computation of that length in its turn, which shows what part of the
// slowest hundredth is the machine's.
func BenchmarkTaskAdded(b *testing.B) {
	for _, s := range sizes[2:] {
		b.Run(s.name, func(b *testing.B) {
			r := fill(b, s.Workload)
			r.Flush()
			runtime.GC()
			var times, raw []time.Duration
			next, x := s.Endpoints, uint64(1)
			for b.Loop() {
				e := s.Endpoint(next)
				// Apps that have policies: with fewer policies than apps not all do.
				e.Labels = s.Endpoint(next % min(s.Policies, s.Apps())).Labels
				next++
				start := time.Now()
				r.PutEndpoint(e)
				d := r.Flush()
				times = append(times, time.Since(start))
				if len(d.Endpoints) != 1 || d.Endpoints[0].Posture == "" {
					b.Fatalf("delta %+v", d)
				}
				start = time.Now()
				x = compute(x)
				raw = append(raw, time.Since(start))
			}
			runtime.KeepAlive(x)
			quantile(b, times, 0.5, "p50-ns")
			quantile(b, times, 0.99, "p99-ns")
			quantile(b, raw, 0.5, "raw-p50-ns")
			quantile(b, raw, 0.99, "raw-p99-ns")
		})
	}
}

// BenchmarkTaskReplaced is one task leaving and another of its app coming.
func BenchmarkTaskReplaced(b *testing.B) {
	for _, s := range sizes[2:] {
		b.Run(s.name, func(b *testing.B) {
			r := fill(b, s.Workload)
			r.Flush()
			i := 0
			for b.Loop() {
				e := s.Endpoint(i % s.Endpoints)
				r.DeleteEndpoint(e.ID)
				r.PutEndpoint(e)
				r.Flush()
				i++
			}
		})
	}
}

// BenchmarkPolicyEdited is one policy with another port, up to its Delta; and
// one with another selector, which moves the members of two apps.
func BenchmarkPolicyEdited(b *testing.B) {
	for _, s := range sizes[1:] {
		r := fill(b, s.Workload)
		r.Flush()
		const many = 500 // policies that are edited in turn
		var rules, selectors []events.Resource
		for round := range 2 {
			for i := range many {
				rules = append(rules, s.Policy(i, 9000+round))
			}
		}
		for i := range many {
			moved := s.Policy(i+1, 8080)
			moved.ResourceKey = s.Policy(i, 8080).ResourceKey
			moved.Body = bytes.Replace(moved.Body, fmt.Appendf(nil, "policy-%d\"", i+1), fmt.Appendf(nil, "policy-%d\"", i), 1)
			selectors = append(selectors, moved, s.Policy(i, 8080)) // there and back
		}
		edit := func(b *testing.B, edits []events.Resource) {
			var times []time.Duration
			n := 0
			for b.Loop() {
				start := time.Now()
				if err := r.Apply(edits[n%len(edits):][:1], nil); err != nil {
					b.Fatal(err)
				}
				d := r.Flush()
				times = append(times, time.Since(start))
				if len(d.Programs) == 0 {
					b.Fatal("no program changed")
				}
				n++
			}
			quantile(b, times, 0.5, "p50-ns")
			quantile(b, times, 0.99, "p99-ns")
			for i := range many { // as it was, for the next
				if err := r.Apply([]events.Resource{s.Policy(i, 8080)}, nil); err != nil {
					b.Fatal(err)
				}
			}
			r.Flush()
		}
		b.Run(s.name+"/rule", func(b *testing.B) { edit(b, rules) })
		b.Run(s.name+"/selector", func(b *testing.B) { edit(b, selectors) })
	}
}

// BenchmarkHeap reports what a filled resolver keeps, its endpoints' labels and
// its resources included.
func BenchmarkHeap(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				r := fill(b, s.Workload)
				r.Flush()
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(r)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-MB")
		})
	}
}
