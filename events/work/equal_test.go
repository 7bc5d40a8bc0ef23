package work

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSameItemsAreTheSameBytes draws pairs that differ in at most one part.
func TestSameItemsAreTheSameBytes(t *testing.T) {
	t.Parallel()
	full := func() *Item {
		return &Item{
			Host: "h", Rev: 2, Cause: 3, Time: time.Unix(1, 5).UTC(),
			Sets:      []Set{{ID: "s", Type: Nets, Origin: "o", Members: []string{"10.0.0.1"}}},
			Members:   []SetEdit{{ID: "s", Add: []string{"a"}, Remove: []string{"b"}}},
			Programs:  []Program{{ID: "p", Policies: []string{"x"}, Ingress: []Tier{{Name: "t", Rules: []Rule{{Action: Allow, Protocol: 6}}}}}},
			Endpoints: []Endpoint{{ID: "e", Network: "n", Address: netip.MustParseAddr("10.0.0.1"), Posture: "p"}},
			Routes:    []Route{{Prefix: netip.MustParsePrefix("10.0.0.0/26"), Via: netip.MustParseAddr("192.168.0.1")}},
			BGP:       &BGP{},
			Delete:    &Deletions{Endpoints: []string{"x"}, Sets: []string{"y"}},
		}
	}
	changes := []func(*Item){
		func(*Item) {}, // none
		func(i *Item) { i.Host = "g" }, func(i *Item) { i.Rev++ }, func(i *Item) { i.Cause++ }, func(i *Item) { i.Snapshot = true },
		func(i *Item) { i.Time = i.Time.Add(1) }, func(i *Item) { i.Time = i.Time.In(time.FixedZone("", 3600)) },
		func(i *Item) { i.Sets[0].Members = nil }, func(i *Item) { i.Sets[0].Members = []string{} }, func(i *Item) { i.Sets[0].Origin = "" },
		func(i *Item) { i.Sets[0].Type = Ports }, func(i *Item) { i.Sets = nil },
		func(i *Item) { i.Members[0].Add = nil }, func(i *Item) { i.Members[0].Remove[0] = "c" }, func(i *Item) { i.Members = nil },
		func(i *Item) { i.Programs[0].Ingress[0].Rules[0].Protocol = 17 }, func(i *Item) { i.Programs[0].Policies = nil }, func(i *Item) { i.Programs = nil },
		func(i *Item) { i.Endpoints[0].Docker = true }, func(i *Item) { i.Endpoints[0].Posture = "" },
		func(i *Item) { i.Routes[0].Host = "z" }, func(i *Item) { i.Routes = nil },
		func(i *Item) { i.BGP = nil },
		func(i *Item) { i.Delete = nil }, func(i *Item) { i.Delete = &Deletions{} }, func(i *Item) { i.Delete.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26")} },
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := full(), full()
		x, y := rapid.IntRange(0, len(changes)-1).Draw(t, "x"), rapid.IntRange(0, len(changes)-1).Draw(t, "y")
		changes[x](a)
		changes[y](b)
		p, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		q, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		switch same := same(a, b); {
		case same && !bytes.Equal(p, q):
			t.Fatalf("the same, and not as bytes:\n%s\n%s", p, q)
		case !same && reflect.DeepEqual(a, b):
			t.Fatalf("equal, and not found the same: %s", p)
		}
	})
	if n := reflect.TypeFor[Item]().NumField(); n != 12 {
		t.Errorf("an item has %d parts: does Same know all?", n)
	}
}
