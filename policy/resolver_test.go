package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// apply reads YAML and applies it.
func apply(t testing.TB, r *policy.Resolver, yaml string) {
	t.Helper()
	resources, err := resource.Read("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(resources, nil); err != nil {
		t.Fatal(err)
	}
}

// ep makes an endpoint from "id address environment key=value…".
func ep(text string, ports ...events.Port) policy.Endpoint {
	f := strings.Fields(text)
	e := policy.Endpoint{ID: f[0], Address: netip.MustParseAddr(f[1]), Environment: f[2], Labels: map[string]string{}, Ports: ports}
	for _, l := range f[3:] {
		k, v, _ := strings.Cut(l, "=")
		e.Labels[k] = v
	}
	return e
}

func tcp(from, to string, port uint16) policy.Packet {
	return policy.Packet{From: policy.Party{Endpoint: from}, To: policy.Party{Endpoint: to}, Protocol: 6, DstPort: port, SrcPort: 40000}
}

const frontToBack = `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: back, namespace: prod}
spec:
  selector: app == 'back'
  ingress:
    - action: Allow
      protocol: TCP
      source: {selector: app == 'front'}
      destination: {ports: [http, 9000:9010]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: front}
spec:
  selector: app == 'front'
  types: [Egress]
  egress:
    - action: Allow
      protocol: TCP
      destination: {selector: app == 'back'}
    - action: Allow
      destination: {nets: [0.0.0.0/0], notNets: [10.0.0.0/8]}
`

func cluster(t testing.TB) *policy.Resolver {
	r := policy.NewResolver()
	apply(t, r, frontToBack)
	http := events.Port{Name: "http", Number: 8080, Protocol: "tcp"}
	r.PutEndpoint(ep("f1 10.0.0.1 prod app=front"))
	r.PutEndpoint(ep("b1 10.0.0.2 prod app=back", http))
	r.PutEndpoint(ep("b2 10.0.0.3 prod app=back", http))
	r.PutEndpoint(ep("dev 10.0.0.4 dev app=front"))
	r.PutEndpoint(ep("lone 10.0.0.5 prod app=lone"))
	return r
}

func TestVerdicts(t *testing.T) {
	r := cluster(t)
	for _, c := range []struct {
		packet policy.Packet
		want   bool
	}{
		{tcp("f1", "b1", 8080), true},
		{tcp("f1", "b1", 9005), true},
		{tcp("f1", "b1", 80), false},
		{tcp("b1", "f1", 8080), false},
		{tcp("dev", "b1", 8080), false}, // another environment
		{tcp("lone", "b1", 8080), false},
		{tcp("f1", "lone", 8080), false},
		{policy.Packet{From: policy.Party{Endpoint: "f1"}, To: policy.Party{Address: netip.MustParseAddr("192.0.2.1")}, Protocol: 17}, true},
		{policy.Packet{From: policy.Party{Endpoint: "f1"}, To: policy.Party{Address: netip.MustParseAddr("10.9.9.9")}, Protocol: 17}, false},
		{policy.Packet{From: policy.Party{Endpoint: "f1"}, To: policy.Party{Address: netip.MustParseAddr("2001:db8::1")}, Protocol: 17}, false},
	} {
		if v := r.Verdict(c.packet); v.Allowed != c.want {
			t.Errorf("%+v: %v, want %v (egress %+v, ingress %+v)", c.packet, v.Allowed, c.want, v.Egress, v.Ingress)
		}
	}
	v := r.Explain(tcp("f1", "b1", 8080))
	if v.Ingress.Policy != "NetworkPolicy prod/back" || v.Ingress.Index != 0 || v.Ingress.Tier != "default" || len(v.Ingress.Considered) != 1 {
		t.Errorf("ingress decided by %+v", v.Ingress)
	}
	if v := r.Verdict(tcp("f1", "b1", 80)); v.Ingress.Index != -1 || v.Ingress.Policy != "default" || v.Ingress.Action != work.Deny {
		t.Errorf("the tier's default should have decided: %+v", v.Ingress)
	}
}

func TestDeltaTellsOnlyWhatChanged(t *testing.T) {
	r := cluster(t)
	d := r.Flush()
	if len(d.Endpoints) != 5 || len(d.Programs) != 2 || len(d.Sets) == 0 || d.Members != nil || d.GoneSets != nil {
		t.Fatalf("first delta %+v", d)
	}
	if d := r.Flush(); !cmp.Equal(d, policy.Delta{}) {
		t.Fatalf("nothing changed, yet %+v", d)
	}

	// A further back joins an existing posture, one set of addresses and one of ports.
	r.PutEndpoint(ep("b3 10.0.0.6 prod app=back", events.Port{Name: "http", Number: 8081, Protocol: "tcp"}))
	d = r.Flush()
	if len(d.Endpoints) != 1 || d.Endpoints[0].ID != "b3" || d.Endpoints[0].Posture != r.Posture("b1") || d.Programs != nil || d.Sets != nil {
		t.Fatalf("delta %+v", d)
	}
	var added []string
	for _, m := range d.Members {
		added = append(added, m.Add...)
	}
	if want := []string{"10.0.0.6", "10.0.0.6,tcp:8081"}; !cmp.Equal(added, want, cmpopts.SortSlices(strings.Compare)) {
		t.Errorf("members added: %v, want %v", added, want)
	}

	// The only front leaves: its posture, its program and its sets go.
	r.DeleteEndpoint("f1")
	r.DeleteEndpoint("dev")
	d = r.Flush()
	if len(d.GonePrograms) != 1 || len(d.GoneSets) != 3 || d.Endpoints != nil {
		t.Errorf("delta %+v", d)
	}

	// Going and coming back within one Flush is only the endpoint's own news.
	r.DeleteEndpoint("b3")
	r.PutEndpoint(ep("b3 10.0.0.6 prod app=back", events.Port{Name: "http", Number: 8081, Protocol: "tcp"}))
	d = r.Flush()
	if len(d.Endpoints) != 1 || d.Members != nil || d.Programs != nil {
		t.Errorf("delta %+v", d)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	r := cluster(t)
	r.Flush()
	before := r.Resources()
	good, err := resource.Read("x.yaml", []byte(strings.ReplaceAll(frontToBack, "app == 'back'", "app == 'other'")))
	if err != nil {
		t.Fatal(err)
	}
	bad := good[0]
	bad.Name = "wrong"
	err = r.Apply(append(good, bad), []events.ResourceKey{before[0].ResourceKey})
	if err == nil || !strings.Contains(err.Error(), "holds the body of") {
		t.Errorf("error %v", err)
	}
	lost := events.Resource{ResourceKey: events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "lost"}, File: "p.yaml", Line: 7,
		Body: []byte(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"lost"},"spec":{"tier":"nowhere"}}`)}
	err = r.Apply([]events.Resource{lost}, nil)
	if err == nil || !strings.Contains(err.Error(), "p.yaml:7: spec.tier: GlobalNetworkPolicy lost is in tier nowhere, which does not exist") {
		t.Errorf("error %v", err)
	}
	if err := r.Apply([]events.Resource{{ResourceKey: events.ResourceKey{Kind: "Tier", Name: "empty"}}}, nil); err == nil {
		t.Error("a resource without a body was applied")
	}
	if d := r.Flush(); !cmp.Equal(d, policy.Delta{}) {
		t.Errorf("a refused change changed %+v", d)
	}
	if !cmp.Equal(before, r.Resources()) {
		t.Error("a refused change changed the resources")
	}
}

func TestATierInUseCannotBeDeleted(t *testing.T) {
	r := policy.NewResolver()
	apply(t, r, `
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {tier: security, selector: all()}
`)
	tier := events.ResourceKey{Kind: "Tier", Name: "security"}
	pol := events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "p"}
	if err := r.Apply(nil, []events.ResourceKey{tier}); err == nil {
		t.Error("a tier with policies was deleted")
	}
	if err := r.Apply(nil, []events.ResourceKey{tier, pol}); err != nil {
		t.Error(err)
	}
}

func TestLabelGuard(t *testing.T) {
	r := policy.NewResolver()
	apply(t, r, `
apiVersion: taskwall/v1
kind: LabelGuard
metadata: {name: pci}
spec: {label: pci, values: [cardholder], groups: [/shop]}
---
apiVersion: taskwall/v1
kind: LabelGuard
metadata: {name: environment}
spec: {label: taskwall.environment, values: [prod], apps: [/shop/pay]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: prod}
spec: {selector: pci == 'cardholder'}
`)
	pay := ep("pay 10.0.0.1 prod taskwall/app=/shop/pay taskwall/group=/shop pci=cardholder taskwall.environment=prod")
	evil := ep("evil 10.0.0.2 prod taskwall/app=/x/y taskwall/group=/x pci=cardholder taskwall.environment=prod other=1")
	shopper := ep("shopper 10.0.0.3 prod taskwall/app=/shop/web taskwall/group=/shop pci=cardholder taskwall.environment=prod")
	for _, e := range []policy.Endpoint{pay, evil, shopper} {
		r.PutEndpoint(e)
	}
	if r.Posture("pay") == "" || r.Posture("evil") != "" || r.Posture("shopper") != "" {
		t.Errorf("postures %q %q %q", r.Posture("pay"), r.Posture("evil"), r.Posture("shopper"))
	}
	want := []policy.Refusal{
		{Endpoint: "evil", Label: "pci", Value: "cardholder", Guard: "pci"},
		{Endpoint: "evil", Label: "taskwall.environment", Value: "prod", Guard: "environment"},
		{Endpoint: "shopper", Label: "taskwall.environment", Value: "prod", Guard: "environment"},
	}
	if diff := cmp.Diff(want, slices.Concat(r.Refusals("pay"), r.Refusals("evil"), r.Refusals("shopper"))); diff != "" {
		t.Error(diff)
	}
	if g := r.Guarded(evil); g.Environment != "" || g.Labels["other"] != "1" || g.Labels["pci"] != "" {
		t.Errorf("guarded %+v", g)
	}
	// Without the guards the claims stand.
	if err := r.Apply(nil, []events.ResourceKey{{Kind: "LabelGuard", Name: "pci"}, {Kind: "LabelGuard", Name: "environment"}}); err != nil {
		t.Fatal(err)
	}
	if r.Posture("evil") == "" || len(r.Refusals("evil"))+len(r.Refusals("shopper")) > 0 {
		t.Error("a guard that is gone still refuses")
	}
}

func TestPools(t *testing.T) {
	r := policy.NewResolver()
	apply(t, r, `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: legacy
  annotations: {taskwall/selector: uses/oracle == 'yes' || projectcalico.org/namespace == 'prod'}
spec: {cidr: 10.64.0.0/16, blockSize: 28}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: a-default}
spec: {cidr: 10.65.0.0/16, disabled: true}
`)
	pools := r.Pools()
	if len(pools) != 2 || pools[0].Name != "a-default" || !pools[0].Disabled || pools[0].BlockSize != 26 || pools[1].BlockSize != 28 {
		t.Fatalf("pools %+v", pools)
	}
	if !pools[0].Selects(nil, "") || pools[1].Selects(nil, "dev") || !pools[1].Selects(nil, "prod") || !pools[1].Selects(map[string]string{"uses/oracle": "yes"}, "") {
		t.Error("a pool selects the wrong endpoints")
	}
}
