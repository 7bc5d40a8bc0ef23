package firewall

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/work"
)

// A look spares Sync the reading, and finds what others did before it. One that
// a change made old is not believed: what was programmed since stays.
func TestLook(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			ctx := context.Background()
			f, p := open(t, b), sample()
			look := func() *Look {
				t.Helper()
				l, err := f.Look(ctx, slices.Collect(maps.Keys(p.Sets)))
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			sync := func(l *Look) string {
				t.Helper()
				p.Look = l
				drift, failures, err := f.Sync(ctx, p)
				if err != nil || len(failures) > 0 {
					t.Fatal(err, failures)
				}
				return strings.Join(drift, "\n")
			}
			sync(nil)
			if d := sync(look()); d != "" {
				t.Errorf("drift of a host that nobody touched: %s", d)
			}

			run(t, "iptables-"+string(b), "-F", "tw-i-db")
			run(t, "ipset", "del", "tw-s-web", "10.0.0.1")
			l := look()
			if !f.Fresh(l) {
				t.Error("a look is old though we programmed nothing")
			}
			if d := sync(l); !strings.Contains(d, "tw-i-db") || !strings.Contains(d, "tw-s-web") {
				t.Errorf("drift found: %q", d)
			}
			run(t, "ipset", "test", "tw-s-web", "10.0.0.1") // fails when it is not there

			l = look()
			p.Sets["web"].Members["10.0.0.9"] = struct{}{}
			none := func(string, string) bool { return false }
			if failures := f.Edit([]work.SetEdit{{ID: "web", Add: []string{"10.0.0.9"}}}, false, none); len(failures) > 0 {
				t.Fatal(failures)
			}
			if f.Fresh(l) {
				t.Error("a look from before a change is fresh")
			}
			if d := sync(l); d != "" {
				t.Errorf("our own change is taken for drift: %s", d)
			}
			run(t, "ipset", "test", "tw-s-web", "10.0.0.9")
		})
	}
}
