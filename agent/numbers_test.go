package agent_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

// An agent that starts when somebody has emptied a dispatch chain gives each posture
// the number that it had: by another, until the sets are written, too, an endpoint
// would meet the policies of another's posture.
func TestPosturesKeepTheirNumbers(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Programs: []work.Program{open("last")}}) // not in the order of their names
			l.must(work.Item{Programs: []work.Program{posture("first", nil, nil)}})
			l.run("a", "10.0.0.1", "last")
			b := l.run("b", "10.0.0.2", "first")
			before := kernel(t, backend)
			for _, chain := range []string{"tw-egress", "tw-ingress"} {
				l.kill()
				run(t, "iptables-"+backend, "-F", chain)
				l.start()
				awaitSynced(t, l, b)
				if d := cmp.Diff(before, kernel(t, backend)); d != "" {
					t.Errorf("after %s was emptied:\n%s", chain, d)
				}
			}
		})
	}
}
