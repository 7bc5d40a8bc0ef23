package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// largeMesh is how many hosts Calico's documentation advises at most.
const largeMesh = 100

// shortestLearned is the prefix length of the largest network that a network
// set lets hosts learn.
const shortestLearned = 8

// configurations are all BGPConfigurations: of all hosts, of hosts, of sites.
func (r *run) configurations() []*resource.BGPConfiguration {
	var all []*resource.BGPConfiguration
	for _, name := range events.SortedKeys(r.bgp.Configurations) {
		all = append(all, r.bgp.Configurations[name])
	}
	return append(all, r.bgp.Sites...)
}

// meshed says whether hosts have a full mesh of sessions.
func (r *run) meshed() bool {
	c := r.bgp.Configurations[""]
	return len(r.configurations()) > 0 && (c == nil || c.Spec.NodeToNodeMeshEnabled == nil || *c.Spec.NodeToNodeMeshEnabled)
}

// sessions warns of resources that come to nothing.
func (r *run) sessions() {
	if len(r.configurations()) == 0 {
		for _, p := range r.bgp.Peers {
			r.warn("no-sessions", p.Key(), nil, "there is no BGPConfiguration: no host speaks BGP", "add the BGPConfiguration default")
		}
	} else if c := r.bgp.Configurations[""]; c != nil && !r.meshed() && len(r.bgp.Peers) == 0 {
		r.warn("no-sessions", c.Key(), []any{"spec", "nodeToNodeMeshEnabled"}, "without a mesh and without a BGPPeer no host has a session",
			"add a BGPPeer, or write nodeToNodeMeshEnabled: true")
	}
	used := map[string]bool{}
	for _, p := range r.bgp.Peers {
		for _, f := range p.Spec.Filters {
			used[f] = true
		}
	}
	for _, name := range events.SortedKeys(r.bgp.Filters) {
		if !used[name] {
			r.warn("unused-filter", r.bgp.Filters[name].Key(), nil, "no BGPPeer names it", "name it in spec.filters of a BGPPeer, or remove it")
		}
	}
	if len(r.configurations()) == 0 {
		return
	}
	for _, s := range r.sets {
		for i, text := range s.Spec.Nets {
			if n, err := resource.ParseNet(text); err == nil && n.Addr().Is4() && n.Bits() < shortestLearned {
				r.warn("not-learned", s.Key(), []any{"spec", "nets", i}, fmt.Sprintf("hosts learn no routes to %s: it is larger than /%d", n, shortestLearned),
					"write the networks that peers announce, if routes to them are to be learned")
			}
		}
	}
}

// hosts are those that have endpoints in the snapshot, sorted by name.
func (r *run) hosts() []policy.Host {
	byName := map[string]policy.Host{}
	for _, e := range r.Endpoints {
		name := e.Labels[resource.HostLabel]
		if name == "" {
			continue
		}
		h := policy.Host{Name: name, Attributes: map[string]string{}}
		for k, v := range e.Labels {
			if attribute, ok := strings.CutPrefix(k, resource.HostLabel+"/"); ok {
				h.Attributes[attribute] = v
			}
		}
		if c := r.bgp.Configurations[""]; c != nil && c.Metadata.Annotations[resource.Reflectors] != "" && matches(c.Metadata.Annotations[resource.Reflectors], h) {
			h.ClusterID = c.Metadata.Annotations[resource.ClusterID]
		}
		if c := r.own(h); c != nil && c.Metadata.Annotations[resource.ClusterID] != "" {
			h.ClusterID = c.Metadata.Annotations[resource.ClusterID]
		}
		byName[name] = h
	}
	var hosts []policy.Host
	for _, name := range events.SortedKeys(byName) {
		hosts = append(hosts, byName[name])
	}
	return hosts
}

// own is the configuration of a host or of its site, if it has one.
func (r *run) own(h policy.Host) *resource.BGPConfiguration {
	if c := r.bgp.Configurations[h.Name]; c != nil {
		return c
	}
	for _, c := range r.bgp.Sites {
		if matches(c.Metadata.Annotations[resource.BGPHosts], h) {
			return c
		}
	}
	return nil
}

func matches(text string, h policy.Host) bool {
	s, err := selector.Parse(text)
	return err == nil && s.Matches(h)
}

// selectHosts warns of selectors over hosts that can match none, or match none
// of the snapshot.
func (r *run) selectHosts() {
	hosts := r.hosts()
	look := func(key events.ResourceKey, text string, field ...any) {
		if text == "" {
			return
		}
		s, err := selector.Parse(text)
		switch {
		case err != nil:
		case s.Never():
			r.warn("impossible", key, field, fmt.Sprintf("%s can match nothing", text), "make its parts agree")
		case len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h policy.Host) bool { return s.Matches(h) }):
			r.warn("no-host", key, field, fmt.Sprintf("%s matches no host", text), "look for an attribute of the Mesos agents that is misspelt")
		}
	}
	named := func(key events.ResourceKey, name string, field ...any) {
		if name != "" && len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h policy.Host) bool { return h.Name == name }) {
			r.warn("no-host", key, field, fmt.Sprintf("there is no host %s", name), "write a Mesos agent's hostname")
		}
	}
	for _, c := range r.configurations() {
		named(c.Key(), c.Host(), "metadata", "name")
		look(c.Key(), c.Metadata.Annotations[resource.BGPHosts], "metadata", "annotations", resource.BGPHosts)
		look(c.Key(), c.Metadata.Annotations[resource.Reflectors], "metadata", "annotations", resource.Reflectors)
	}
	for _, p := range r.bgp.Peers {
		named(p.Key(), p.Spec.Node, "spec", "node")
		look(p.Key(), p.Spec.NodeSelector, "spec", "nodeSelector")
		look(p.Key(), p.Spec.PeerSelector, "spec", "peerSelector")
	}
	speaking := 0
	for _, h := range hosts {
		if c := r.bgp.Configurations[""]; r.own(h) != nil ||
			c != nil && (c.Metadata.Annotations[resource.BGPHosts] == "" || matches(c.Metadata.Annotations[resource.BGPHosts], h)) {
			speaking++
		}
	}
	if c := r.bgp.Configurations[""]; c != nil && r.meshed() && speaking > largeMesh {
		r.warn("large-mesh", c.Key(), []any{"spec", "nodeToNodeMeshEnabled"}, fmt.Sprintf("each of %d hosts has a session with every other", speaking),
			"choose route reflectors, and write nodeToNodeMeshEnabled: false")
	}
}

// routers warns of peers that disagree on a router, or that ask for what has no
// effect in one AS.
func (r *run) routers() {
	asn := resource.DefaultASN
	if c := r.bgp.Configurations[""]; c != nil && c.Spec.ASNumber != 0 {
		asn = c.Spec.ASNumber
	}
	first := map[netip.Addr]*resource.BGPPeer{}
	for _, p := range r.bgp.Peers {
		if p.Spec.PeerIP == "" {
			continue
		}
		at := p.Peer().Addr()
		if other := first[at]; other == nil {
			first[at] = p
		} else if other.Spec.ASNumber != p.Spec.ASNumber {
			r.warn("as-mismatch", p.Key(), []any{"spec", "asNumber"}, fmt.Sprintf("%s says that %s is in AS %d, %s that it is in AS %d",
				other.Key(), at, other.Spec.ASNumber, p.Key(), p.Spec.ASNumber), "write the router's own")
		}
		if len(r.configurations()) == 1 && p.Spec.ASNumber == asn && p.Metadata.Annotations[resource.Multihop] != "" {
			r.warn("as-mismatch", p.Key(), []any{"metadata", "annotations", resource.Multihop},
				fmt.Sprintf("the peer is in the hosts' own AS %d, where any number of hops is allowed", asn), "remove it, or write the peer's AS number")
		}
	}
}

// advertisements warns of pools that no advertisement covers though there are
// some, and of advertisements that cover no pool.
func (r *run) advertisements() {
	var all []netip.Prefix
	for _, c := range r.configurations() {
		for i, adv := range c.Spec.PrefixAdvertisements {
			net := netip.MustParsePrefix(adv.CIDR)
			all = append(all, net)
			if !slices.ContainsFunc(r.pools, func(p *resource.Pool) bool { return net.Overlaps(p.Prefix()) }) {
				r.warn("not-covered", c.Key(), []any{"spec", "prefixAdvertisements", i, "cidr"}, fmt.Sprintf("no IPPool is in %s: nothing is announced so", net), "write the network of an IPPool")
			}
		}
	}
	for _, p := range r.pools {
		pool := p.Prefix()
		if len(all) > 0 && !slices.ContainsFunc(all, func(n netip.Prefix) bool { return n.Bits() <= pool.Bits() && n.Contains(pool.Addr()) }) {
			r.warn("not-covered", p.Key(), []any{"spec", "cidr"}, fmt.Sprintf("no prefixAdvertisement covers all of %s: its blocks are announced without communities", pool), "add one for it")
		}
	}
}
