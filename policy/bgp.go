package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/resource"
)

// BGP are the resources in force that say how hosts speak BGP. They are shared:
// they must not be changed.
type BGP struct {
	// Configurations are by host; that of all hosts has the key "".
	Configurations map[string]*resource.BGPConfiguration
	// Sites are those for the hosts that they select, by name.
	Sites   []*resource.BGPConfiguration
	Peers   []*resource.BGPPeer // sorted by name
	Filters map[string]*resource.BGPFilter
}

// BGP returns the resources of BGP.
func (r *Resolver) BGP() BGP {
	b := BGP{Configurations: map[string]*resource.BGPConfiguration{}, Filters: map[string]*resource.BGPFilter{}}
	for key, typed := range r.bgp {
		switch t := typed.(type) {
		case *resource.BGPConfiguration:
			if t.Site() {
				b.Sites = append(b.Sites, t)
			} else {
				b.Configurations[t.Host()] = t
			}
		case *resource.BGPPeer:
			b.Peers = append(b.Peers, t)
		case *resource.BGPFilter:
			b.Filters[key.Name] = t
		}
	}
	slices.SortFunc(b.Sites, func(a, b *resource.BGPConfiguration) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	slices.SortFunc(b.Peers, func(a, b *resource.BGPPeer) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	return b
}

// SetNetworks are the IPv4 networks of all network sets. They come in no order,
// and one may come several times.
func (r *Resolver) SetNetworks() []netip.Prefix {
	var nets []netip.Prefix
	for _, it := range r.netsets {
		for _, m := range it.nets {
			nets = append(nets, m.network())
		}
	}
	return nets
}

// checkFilters finds peers whose filters would not exist.
func (r *Resolver) checkFilters(next map[events.ResourceKey]change) resource.Problems {
	exists := func(name string) bool {
		key := events.ResourceKey{Kind: resource.KindBGPFilter, Name: name}
		if c, changed := next[key]; changed {
			return c.typed != nil || c.moved
		}
		return r.bgp[key] != nil
	}
	var problems resource.Problems
	look := func(raw events.Resource, typed resource.Typed) {
		peer, ok := typed.(*resource.BGPPeer)
		if !ok {
			return
		}
		for i, name := range peer.Spec.Filters {
			if !exists(name) {
				problems = append(problems, resource.Problem{File: raw.File, Line: raw.Line, Field: fmt.Sprintf("spec.filters[%d]", i),
					Message: fmt.Sprintf("%s names the filter %s, which does not exist", raw.ResourceKey, name), Instead: "add a BGPFilter of this name, or remove it here"})
			}
		}
	}
	for _, c := range next {
		look(c.raw, c.typed)
	}
	for key, typed := range r.bgp {
		if c, changed := next[key]; !changed || c.moved {
			look(r.resources[key], typed)
		}
	}
	return problems
}
