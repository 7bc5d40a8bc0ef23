package reach_test

import (
	"testing"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/reach"
)

// BenchmarkReach is one question of a cluster of 100,000 tasks and 10,000
// policies: reading the index, and who can reach one app.
func BenchmarkReach(b *testing.B) {
	w := policytest.Workload{Endpoints: 100_000, Policies: 10_000}
	endpoints := w.AllEndpoints()
	r := policy.NewResolver()
	if err := r.Apply(w.AllPolicies(), nil); err != nil {
		b.Fatal(err)
	}
	for _, e := range endpoints {
		r.PutEndpoint(e)
	}
	side := reach.Side{}
	for i := range policytest.TasksPerApp {
		side.Endpoints = append(side.Endpoints, endpoints[104+i*w.Apps()].ID) // an app that its peer lets in
	}
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			reach.New(r, endpoints)
		}
	})
	x := reach.New(r, endpoints)
	b.Run("to", func(b *testing.B) {
		for b.Loop() {
			if len(x.To(side, nil)) == 0 {
				b.Fatal("nobody reaches it")
			}
		}
	})
	b.Run("from", func(b *testing.B) {
		for b.Loop() {
			if len(x.From(side, nil)) == 0 {
				b.Fatal("it reaches nobody")
			}
		}
	})
}
