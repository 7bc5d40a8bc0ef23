package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/policy/resource"
)

// A rule that a host could not program is refused before it closes anything.
func TestARuleIsNoMoreThanTheKernelHolds(t *testing.T) {
	rule := func(sources, destinations int) string {
		list := func(n int) string {
			var names []string
			for i := range n {
				names = append(names, fmt.Sprintf("port-%d", i))
			}
			return strings.Join(names, ", ")
		}
		return fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: ports}\nspec:\n  ingress:\n"+
			"    - {action: Allow, protocol: TCP, source: {ports: [%s]}, destination: {ports: [%s]}}\n", list(sources), list(destinations))
	}
	if _, err := resource.Read("p.yaml", []byte(rule(25, 40))); err != nil {
		t.Error(err)
	}
	_, err := resource.Read("p.yaml", []byte(rule(26, 40)))
	if err == nil || !strings.Contains(err.Error(), "p.yaml:6:7: spec.ingress[0]: its ports make 1040 rules of the kernel") {
		t.Errorf("too many: %v", err)
	}
}
