// Package policytest makes clusters, policies and packets for tests: the
// workload that resolvers are measured with, and random ones.
package policytest

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// TasksPerApp is how many tasks of the workload share an app.
const TasksPerApp = 20

// Workload is W(endpoints, policies): each app has 20 tasks with 6 labels
// each; each policy selects one app and lets one peer app in and out, TCP, one
// port. Compound policies add "&& env == 'prod'" to every selector.
type Workload struct {
	Endpoints, Policies int
	Compound            bool
}

// Apps is how many apps the workload has.
func (w Workload) Apps() int { return max(1, w.Endpoints/TasksPerApp) }

// Endpoint is the i-th endpoint.
func (w Workload) Endpoint(i int) policy.Endpoint {
	app := i % w.Apps()
	return policy.Endpoint{
		ID: fmt.Sprintf("f1/task-%d", i),
		Labels: map[string]string{
			"app":          fmt.Sprintf("app-%d", app),
			"env":          "prod",
			"team":         fmt.Sprintf("team-%d", app%100),
			"zone":         fmt.Sprintf("zone-%d", i%3),
			"taskwall/app": fmt.Sprintf("/shop/app-%d", app),
			"version":      fmt.Sprintf("v%d", app%7),
		},
		Environment: "prod",
		Address:     netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
	}
}

// AllEndpoints are all of them.
func (w Workload) AllEndpoints() []policy.Endpoint {
	list := make([]policy.Endpoint, w.Endpoints)
	for i := range list {
		list[i] = w.Endpoint(i)
	}
	return list
}

// Policy is the i-th policy with a port of choice.
func (w Workload) Policy(i, port int) events.Resource {
	apps := w.Apps()
	sel := func(app int) string {
		s := fmt.Sprintf("app == 'app-%d'", app%apps)
		if w.Compound {
			s += " && env == 'prod'"
		}
		return s
	}
	peer := sel(i*7 + 1)
	number := resource.Port{First: uint16(port), Last: uint16(port)}
	p := resource.Policy{Header: resource.Header{
		APIVersion: resource.CalicoVersion,
		Kind:       resource.KindGlobalNetworkPolicy,
		Metadata:   resource.Metadata{Name: fmt.Sprintf("policy-%d", i)},
	}}
	p.Spec.Selector = sel(i)
	p.Spec.Types = []string{"Ingress", "Egress"}
	p.Spec.Ingress = []resource.Rule{{Action: "Allow", Protocol: resource.TCP,
		Source: resource.Entity{Selector: peer}, Destination: resource.Entity{Ports: []resource.Port{number}}}}
	p.Spec.Egress = []resource.Rule{{Action: "Allow", Protocol: resource.TCP,
		Destination: resource.Entity{Selector: peer, Ports: []resource.Port{number}}}}
	return Encode(&p)
}

// AllPolicies are all of them.
func (w Workload) AllPolicies() []events.Resource {
	list := make([]events.Resource, w.Policies)
	for i := range list {
		list[i] = w.Policy(i, 8080)
	}
	return list
}

// Encode writes a typed resource as the log holds it.
func Encode(t resource.Typed) events.Resource {
	body, err := json.Marshal(t)
	if err != nil {
		panic("policytest: encoding a resource: " + err.Error()) // plain data: cannot fail
	}
	return events.Resource{ResourceKey: t.Key(), Body: body}
}
