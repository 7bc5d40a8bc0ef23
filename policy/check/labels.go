package check

import (
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// facts are the labels that the cluster gives to endpoints, beside a host's
// attributes below taskwall/host/.
var facts = []string{"taskwall/app", "taskwall/group", "taskwall/framework", "taskwall/host", "taskwall/role"}

// labels warns of tests of what the cluster does not tell: facts that are
// misspelt, and what Calico takes from Kubernetes.
func (r *run) labels(s *selector.Selector, key events.ResourceKey, field []any) {
	for _, label := range s.Keys() {
		switch {
		case strings.HasPrefix(label, "taskwall/") && !slices.Contains(facts, label) && !strings.HasPrefix(label, resource.HostLabel+"/"):
			r.warn("no-such-fact", key, field, "no endpoint has the label "+label, "write one of "+strings.Join(facts, ", ")+", or "+resource.HostLabel+"/ and an attribute")
		case strings.HasPrefix(label, "projectcalico.org/") && label != selector.Namespace:
			r.warn("no-such-fact", key, field, "Calico takes the label "+label+" from Kubernetes, which there is none of here", "test a label that apps have")
		}
	}
}

// poolLabels does so for the selectors of pools.
func (r *run) poolLabels() {
	for _, p := range r.pools {
		if s, err := selector.Parse(p.Metadata.Annotations[resource.PoolSelector]); err == nil {
			r.labels(s, p.Key(), []any{"metadata", "annotations", resource.PoolSelector})
		}
	}
}
