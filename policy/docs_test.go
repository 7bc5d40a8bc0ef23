package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
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
