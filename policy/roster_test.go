package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRoster: it finds just what a map would, also when many IDs have one hash.
func TestRoster(t *testing.T) {
	for _, hashes := range []uint64{1, 3, 1 << 40} {
		r := roster{func(id string) uint64 { return uint64(len(id)) % hashes }, map[uint64]*item{}}
		want := map[string]*item{}
		rnd := rand.New(rand.NewPCG(1, hashes))
		for range 2000 {
			id := fmt.Sprintf("%0*d", 1+rnd.IntN(3), rnd.IntN(9))
			switch it := r.get(id); {
			case it != want[id]:
				t.Fatalf("%d hashes: %q is %p, not %p", hashes, id, it, want[id])
			case it == nil:
				want[id] = &item{Endpoint: Endpoint{ID: id}}
				r.add(want[id])
			default:
				r.remove(it)
				delete(want, id)
			}
			if got := slices.Collect(r.each()); len(got) != len(want) {
				t.Fatalf("%d hashes: %d are visited, not %d", hashes, len(got), len(want))
			}
		}
		for it := range r.each() {
			r.remove(it)
		}
		if len(r.all) != 0 {
			t.Errorf("%d hashes: %d are left", hashes, len(r.all))
		}
	}
}
