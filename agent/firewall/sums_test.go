package firewall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/work"
)

// Whatever edits and strangers do to a set, the check with a look finds it, says
// it, and leaves the set as the picture has it.
func TestLookFindsWhatSumsDoNotKnow(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	ctx := context.Background()
	f := open(t, NFT)
	p := sample()
	delete(p.Programs, "bad")
	if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) > 0 {
		t.Fatal(err, failures)
	}
	s := p.Sets["web"]
	member := func() string {
		return []string{"0.0.0.0/0", "10.1.0.1", "10.1.0.1/32", "0.0.0.0/1", "fd00::1", fmt.Sprintf("10.2.0.%d", r.IntN(8))}[r.IntN(6)]
	}
	still := func(_, m string) bool { _, ok := s.Members[m]; return ok }
	quick := 0
	for range 300 {
		harmed := false
		for range r.IntN(4) {
			m := member()
			switch r.IntN(5) {
			case 0, 1: // added, perhaps again
				s.Members[m] = struct{}{}
				if fs := f.Edit([]work.SetEdit{{ID: "web", Add: []string{m}}}, false, still); len(fs) > 0 {
					t.Fatal(fs)
				}
			case 2, 3: // removed, perhaps without being there
				delete(s.Members, m)
				if fs := f.Edit([]work.SetEdit{{ID: "web", Remove: []string{m}}}, true, still); len(fs) > 0 {
					t.Fatal(fs)
				}
			case 4: // a stranger puts one in the place of another
				run(t, "ipset", "add", "tw-s-web", "6.6.6.6", "-exist")
				if lines := strings.Fields(run(t, "sh", "-c", "ipset save tw-s-web | grep '^add' | grep -v 6.6.6.6 | cut -d' ' -f3 | head -1")); len(lines) > 0 {
					run(t, "ipset", "del", "tw-s-web", lines[0])
				}
				harmed = true
			}
		}
		look, err := f.Look(ctx, []string{"web", "office", "bad", "named"})
		if err != nil {
			t.Fatal(err)
		}
		if f.untouched("tw-s-web", len(s.Members), look) {
			quick++
		}
		p.Look = look
		drift, failures, err := f.Sync(ctx, p)
		if err != nil || len(failures) > 0 || (len(drift) > 0) != harmed {
			t.Fatalf("harmed %v: %q, %v, %v", harmed, drift, failures, err)
		}
		var want []string
		es, err := elements(s.Type, func(yield func(string) bool) {
			for m := range s.Members {
				if !yield(m) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for e := range es {
			want = append(want, e.String())
		}
		have, err := f.bulk.List("tw-s-web")
		if err != nil {
			t.Fatal(err)
		}
		var is []string
		for _, e := range have.Entries {
			is = append(is, e.String())
		}
		slices.Sort(want)
		slices.Sort(is)
		if !slices.Equal(want, is) {
			t.Fatalf("the set holds %v, want %v", is, want)
		}
	}
	if quick == 0 {
		t.Error("no comparison was spared")
	}
}
