package policy_test

import (
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

func read(t *testing.T, text string) []events.Resource {
	t.Helper()
	rs, err := resource.Read("bgp.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

const (
	torPeer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\n" +
		"spec: {peerIP: 192.0.2.1, asNumber: 64513, filters: [blocks]}\n"
	blocksFilter = "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: blocks}\nspec: {exportV4: [{action: Accept}]}\n"
)

// A peer never comes to stand without a filter that it names: neither may it be
// put without it, nor the filter be deleted under it.
func TestPeersNeedTheirFilters(t *testing.T) {
	r := policy.NewResolver()
	missing := "bgp.yaml:1: spec.filters[0]: BGPPeer tor names the filter blocks, which does not exist"
	if err := r.Apply(read(t, torPeer), nil); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a peer without its filter: %v", err)
	}
	if err := r.Apply(read(t, torPeer+"---\n"+blocksFilter), nil); err != nil {
		t.Fatal(err)
	}
	filter, peer := events.ResourceKey{Kind: "BGPFilter", Name: "blocks"}, events.ResourceKey{Kind: "BGPPeer", Name: "tor"}
	if err := r.Apply(nil, []events.ResourceKey{filter}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("deleting a filter in use: %v", err)
	}
	if got := r.BGP(); len(got.Peers) != 1 || got.Filters["blocks"] == nil {
		t.Errorf("in force is %+v", got)
	}
	if err := r.Apply(nil, []events.ResourceKey{filter, peer}); err != nil {
		t.Error(err)
	}
	if got := r.BGP(); len(got.Peers)+len(got.Filters) != 0 {
		t.Errorf("in force is %+v", got)
	}
}
