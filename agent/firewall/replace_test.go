package firewall

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/events/work"
)

// A posture that takes another's place takes its endpoints with it, in one write;
// whoever still calls it by the old name gets the new.
func TestReplace(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			ctx := context.Background()
			f := open(t, b)
			p := sample()
			if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) > 0 {
				t.Fatal(err, failures)
			}
			marks := func() string { return run(t, "ipset", "save", "tw-dst") }
			before := marks()
			heir := p.Programs["db"]
			heir.ID = "db2"
			done, failures, err := f.Replace(ctx, []work.Program{heir}, []string{"db"}, map[string]string{"db": "db2"})
			if !done || err != nil || len(failures) > 0 {
				t.Fatal(done, failures, err)
			}
			rules := run(t, "iptables-"+string(b)+"-save", "-t", "filter")
			if !strings.Contains(rules, "-g tw-i-db2\n") || strings.Contains(rules, "tw-i-db\n") || strings.Contains(rules, ":tw-i-db ") {
				t.Errorf("the tables hold\n%s", rules)
			}
			for _, name := range []string{"db", "db2"} {
				if err := f.Wire(Wire{netip.MustParseAddr("10.0.0.1"), "tw0", name}); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(before, marks()); d != "" || !f.Ready(name) {
					t.Errorf("wired as %s:\n%s", name, d)
				}
			}
			f.Moved()
			if f.Ready("db") || !f.Ready("db2") {
				t.Error("the posture that went is still ready, or its heir is not")
			}
			delete(p.Programs, "db")
			p.Programs["db2"] = heir
			p.Wires = func(do func([]Wire) error) error {
				return do([]Wire{
					{netip.MustParseAddr("10.0.0.1"), "tw0", "db2"}, {netip.MustParseAddr("10.0.0.2"), "tw1", "open"}, {netip.MustParseAddr("10.0.0.3"), "tw2", ""},
				})
			}
			if drift, failures, err := f.Sync(ctx, p); err != nil || len(drift)+len(failures) > 0 {
				t.Errorf("the check finds %q, %v, %v", drift, failures, err)
			}
			if d := cmp.Diff(before, marks()); d != "" {
				t.Errorf("the check:\n%s", d)
			}
		})
	}
}

// When the kernel does not take all of it, nothing of it is done, and it may be
// done in another way, or again.
func TestReplaceNotTaken(t *testing.T) {
	for _, b := range backends {
		for name, first := range map[string]string{"refused": ":", "killed": "kill -9 $$", "killed afterwards": `TRUE "$@"; kill -9 $$`} {
			t.Run(string(b)+"/"+name, func(t *testing.T) {
				ctx := context.Background()
				arm := unlucky(t, b, first)
				f := open(t, b)
				p := sample()
				if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) > 0 {
					t.Fatal(err, failures)
				}
				before := dump(t, b)
				heir := p.Programs["db"]
				heir.ID = "db2"
				other := work.Program{ID: "x", Ingress: []work.Tier{{Rules: []work.Rule{{Action: work.Allow, Policy: "x", Source: work.Match{Sets: []string{"web"}}}}}}}
				replace := func() (bool, error) {
					done, _, err := f.Replace(ctx, []work.Program{heir, other}, []string{"db"}, map[string]string{"db": "db2"})
					return done, err
				}
				if first == ":" {
					f.sets["gone"] = work.Nets // known to us, not to the kernel
					other.Ingress[0].Rules[0].Source.Sets = []string{"gone"}
					if done, err := replace(); done || err != nil {
						t.Fatalf("done %v, %v", done, err)
					}
				} else {
					arm()
					if done, err := replace(); done || err == nil {
						t.Fatalf("done %v, %v", done, err)
					}
				}
				if now := dump(t, b); name != "killed afterwards" && now != before {
					t.Errorf("something was done:\n%s", cmp.Diff(before, now))
				}
				if !f.Ready("db") || f.Ready("db2") || f.Closed("db") {
					t.Error("the old posture is not what is in force")
				}
				if first == ":" {
					other.Ingress[0].Rules[0].Source.Sets = []string{"web"}
				}
				if done, err := replace(); !done || err != nil {
					t.Fatalf("then: done %v, %v", done, err)
				}
				again := open(t, b)
				again.sets = f.sets
				if _, err := again.read(ctx, nil); err != nil {
					t.Fatal(err)
				}
				if n, is := f.postures.index["db2"], again.postures.index["db2"]; n == 0 || n != is {
					t.Errorf("the heir has number %d, and the kernel says %d", n, is)
				}
			})
		}
	}
}
