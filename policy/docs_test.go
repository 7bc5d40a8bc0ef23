package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/snapshot"
	"github.com/taskwall/taskwall/policy/verify"
)

// TestTheManualIsRight reads the YAML of the policy page: its resources apply,
// and its expectations hold for its endpoints.
func TestTheManualIsRight(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var resources []events.Resource
	var endpoints []snapshot.Endpoint
	var expectations *verify.File
	for i, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		switch {
		case strings.Contains(block, "apiVersion:"):
			got, err := resource.Read("policy.md", []byte(block))
			if err != nil {
				t.Fatalf("example %d: %v", i, err)
			}
			resources = append(resources, got...)
		case strings.Contains(block, "expect:"):
			if expectations, err = verify.Read("expectations.yaml", []byte(block)); err != nil {
				t.Fatal(err)
			}
		default:
			if endpoints, err = snapshot.Read("endpoints.yaml", []byte(block)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := explain.New(resources, snapshot.Policies(endpoints), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := expectations.Run(w)
	if r.Failed > 0 || r.Passed < 5 || len(resources) < 7 {
		var b strings.Builder
		r.WriteText(&b, "expectations.yaml")
		t.Errorf("%d resources\n%s", len(resources), &b)
	}
	for kind := range strings.SplitSeq(strings.Join(resource.Kinds, " "), " ") {
		if !strings.Contains(string(page), "`"+kind+"`") {
			t.Errorf("the page does not name %s", kind)
		}
	}
}

// TestTheNetworkManualIsRight puts the YAML of the network page into force, one
// example after the other.
func TestTheNetworkManualIsRight(t *testing.T) {
	page, err := os.ReadFile("../docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	r := policy.NewResolver()
	for i, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		got, err := resource.Read("network.md", []byte(block))
		if err != nil {
			t.Fatalf("example %d: %v", i, err)
		}
		if err := r.Apply(got, nil); err != nil {
			t.Fatalf("example %d: %v", i, err)
		}
	}
	if b := r.BGP(); len(b.Peers) < 3 || len(b.Filters) < 1 || len(b.Configurations)+len(b.Sites) < 2 || len(r.Pools()) < 3 {
		t.Errorf("the page has %+v and %d pools", b, len(r.Pools()))
	}
	for _, annotation := range []string{
		resource.BGPHosts, resource.ClusterID, resource.Reflectors, resource.HoldTime, resource.Keepalive,
		resource.Multihop, resource.MaxPrefixes, resource.LocalPreference,
	} {
		if !strings.Contains(string(page), annotation) {
			t.Errorf("the page does not name %s", annotation)
		}
	}
}
