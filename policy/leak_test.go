package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/taskwall/taskwall/events"
)

// TestNothingIsLeft relabels endpoints many times and then takes everything
// away: the index must not keep what is gone, nor grow with what changes.
func TestNothingIsLeft(t *testing.T) {
	r := NewResolver()
	keys := []events.ResourceKey{{Kind: "GlobalNetworkPolicy", Name: "p"}, {Kind: "GlobalNetworkSet", Name: "s"}}
	put := []events.Resource{
		{ResourceKey: keys[0], Body: []byte(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"p"},"spec":{"selector":"a in {'0', '1'} || has(b)","ingress":[{"action":"Allow","source":{"selector":"a == '1' && env == 'x'","notSelector":"!has(a)"}}]}}`)},
		{ResourceKey: keys[1], Body: []byte(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkSet","metadata":{"name":"s","labels":{"a":"1"}},"spec":{"nets":["192.0.2.0/24"]}}`)},
	}
	if err := r.Apply(put, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		r.PutEndpoint(Endpoint{ID: fmt.Sprint(i % 10), Environment: "x", Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 10)}),
			Labels: map[string]string{"a": fmt.Sprint(i % 3), "env": "x", fmt.Sprintf("k%d", i): ""}})
		if i%7 == 0 {
			r.Flush()
		}
	}
	entries := 0
	for _, k := range r.index.keys {
		for _, p := range k.values {
			entries += len(p.items)
			if p.live > 11 {
				t.Errorf("a label that %d items carry, of 11", p.live)
			}
		}
	}
	if len(r.index.keys) > 20 || entries > 200 {
		t.Errorf("10 endpoints and a network set have %d keys and %d entries in the index", len(r.index.keys), entries)
	}
	for i := range 10 {
		r.DeleteEndpoint(fmt.Sprint(i))
	}
	if err := r.Apply(nil, keys); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	if n := len(r.index.keys) + len(r.index.loose) + len(r.queries) + len(r.postures) + len(r.sets) + len(r.policies) + len(r.netsets) + len(r.endpoints.all) + len(r.resources); n > 0 {
		t.Errorf("%d things are left: %+v", n, r)
	}
}
