package firewall

import (
	"context"
	"strings"
	"testing"
)

// A host that changes to the other iptables backend keeps nothing of ours in
// the first, and all that is others'.
func TestSweepOther(t *testing.T) {
	for _, order := range [][2]Backend{{NFT, Legacy}, {Legacy, NFT}} {
		t.Run(string(order[0])+" to "+string(order[1]), func(t *testing.T) {
			sync := func(b Backend) {
				t.Helper()
				f := open(t, b)
				for range 2 { // a second comparison has nothing more to do
					if _, failures, err := f.Sync(context.Background(), sample()); err != nil || len(failures) > 0 {
						t.Fatal(err, failures)
					}
				}
			}
			before, after := string(order[0]), string(order[1])
			sync(order[0])
			run(t, "iptables-"+before, "-N", "theirs")
			run(t, "iptables-"+before, "-A", "FORWARD", "-j", "theirs")
			for _, tool := range []string{"iptables-", "ip6tables-"} {
				if s := run(t, tool+before+"-save"); !strings.Contains(s, prefix) {
					t.Fatalf("nothing of ours was in %s%s:\n%s", tool, before, s)
				}
			}
			sync(order[1])
			for _, tool := range []string{"iptables-", "ip6tables-"} {
				if s := run(t, tool+before+"-save"); strings.Contains(s, prefix) {
					t.Errorf("of ours is still in %s%s:\n%s", tool, before, s)
				}
				if s := run(t, tool+after+"-save"); !strings.Contains(s, prefix) {
					t.Errorf("nothing of ours is in %s%s:\n%s", tool, after, s)
				}
			}
			if s := run(t, "iptables-"+before+"-save"); !strings.Contains(s, "-A FORWARD -j theirs") {
				t.Errorf("another's rule went too:\n%s", s)
			}
		})
	}
}
