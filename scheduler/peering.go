package scheduler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// peering is a BGPPeer or the mesh: which hosts have sessions with whom.
// Between hosts a peering always holds in both directions.
type peering struct {
	name    string
	node    string             // the one host that it is of; "": see local
	local   *selector.Selector // nil: all
	router  netip.Addr         // the peer, when that is no host
	asn     uint32             // the router's
	remote  *selector.Selector // which hosts are the peers; nil for a router
	mesh    bool               // of all hosts that do not reflect, with each other
	session work.BGPPeer       // what all its sessions have in common
	abroad  []work.BGPFilter   // the export filters for a router in another AS

	locals, remotes map[*host]bool // hosts that take part now
}

// sides says on which side of the peering a host is.
func (p *peering) sides(h *host, l policy.Host) (local, remote bool) {
	switch {
	case p.mesh:
		return l.ClusterID == "", l.ClusterID == ""
	case p.node != "":
		local = p.node == h.name
	default:
		local = p.local == nil || p.local.Matches(l)
	}
	return local, p.remote != nil && p.remote.Matches(l)
}

// rules are what the resources say of BGP, made ready.
type rules struct {
	all   *resource.BGPConfiguration // of all hosts; may be nil
	nodes map[string]*resource.BGPConfiguration
	sites []site
	hosts *selector.Selector // those that speak; nil: all
	// reflectors are those that reflect; nil: none but by their own configuration.
	reflectors *selector.Selector
	peerings   []*peering // in the order in which they count: of two that join the same hosts the first
	accept     []netip.Prefix
	pools      []netip.Prefix
}

// site is a configuration of the hosts that it selects.
type site struct {
	hosts *selector.Selector
	conf  *resource.BGPConfiguration
}

// newRules reads the resources. Where they were checked before, a selector
// parses.
func newRules(b policy.BGP) *rules {
	r := &rules{all: b.Configurations[""], nodes: b.Configurations}
	if r.all != nil {
		a := r.all.Metadata.Annotations
		r.hosts, r.reflectors = parsed(a[resource.BGPHosts]), parsed(a[resource.Reflectors])
	}
	for _, c := range b.Sites {
		r.sites = append(r.sites, site{parsed(c.Metadata.Annotations[resource.BGPHosts]), c})
	}
	for _, p := range b.Peers {
		r.peerings = append(r.peerings, newPeering(p, b.Filters))
	}
	if r.all == nil || r.all.Spec.NodeToNodeMeshEnabled == nil || *r.all.Spec.NodeToNodeMeshEnabled {
		r.peerings = append(r.peerings, newMesh(r.all))
	}
	// Hosts before routers: a router that has a host's address is that host.
	slices.SortStableFunc(r.peerings, func(a, b *peering) int { return rank(a) - rank(b) })
	return r
}

// noTransit is the filter by which a host passes on to routers in other
// autonomous systems only what lies in a pool: it must not become the way from
// one router to another. A filter of theirs that accepts more comes before it.
const noTransit = "no-transit"

// learn says which networks may be learned, and the pools among them.
func (r *rules) learn(accept, pools []netip.Prefix) {
	r.accept, r.pools = accept, pools
	var own []work.BGPFilter
	for i, pool := range pools {
		own = append(own, work.BGPFilter{Accept: true, Prefix: pool, Match: "In", Filter: noTransit, Index: i})
	}
	own = append(own, work.BGPFilter{Origin: "RemotePeers", Filter: noTransit, Index: len(pools)})
	for _, p := range r.peerings {
		if p.router.IsValid() {
			p.abroad = slices.Concat(p.session.Export, own)
		}
	}
}

func rank(p *peering) int {
	switch {
	case p.router.IsValid():
		return 2
	case p.mesh:
		return 1
	}
	return 0
}

func parsed(text string) *selector.Selector {
	if text == "" {
		return nil
	}
	s, err := selector.Parse(text)
	if err != nil {
		panic("scheduler: a selector that was not checked: " + err.Error())
	}
	return s
}

func newMesh(c *resource.BGPConfiguration) *peering {
	p := &peering{name: resource.MeshName, mesh: true, locals: map[*host]bool{}, remotes: map[*host]bool{}}
	if c != nil {
		p.session = work.BGPPeer{
			Password: c.Spec.NodeMeshPassword.File(), RestartTime: time.Duration(c.Spec.NodeMeshMaxRestartTime),
			HoldTime: c.Metadata.Time(resource.HoldTime), Keepalive: c.Metadata.Time(resource.Keepalive),
		}
	}
	return p
}

func newPeering(b *resource.BGPPeer, filters map[string]*resource.BGPFilter) *peering {
	m, spec := &b.Metadata, &b.Spec
	p := &peering{
		name: m.Name, node: spec.Node, local: parsed(spec.NodeSelector), remote: parsed(spec.PeerSelector),
		locals: map[*host]bool{}, remotes: map[*host]bool{},
		session: work.BGPPeer{
			Password: spec.Password.File(), RestartTime: time.Duration(spec.MaxRestartTime),
			HoldTime: m.Time(resource.HoldTime), Keepalive: m.Time(resource.Keepalive),
			TTLSecurity: uint8(spec.TTLSecurity), Multihop: uint8(m.Number(resource.Multihop)),
			MaxPrefixes: uint32(m.Number(resource.MaxPrefixes)), LocalPref: uint32(m.Number(resource.LocalPreference)),
			KeepNextHop: spec.KeepOriginalNextHop, AllowOwnASN: uint8(spec.NumAllowedLocalASNumbers),
		},
	}
	if spec.SourceAddress == "None" {
		p.session.Source = netip.IPv4Unspecified()
	}
	if spec.PeerIP != "" {
		at := b.Peer()
		p.router, p.asn, p.session.Port = at.Addr(), uint32(spec.ASNumber), at.Port()
	}
	for _, name := range spec.Filters {
		f := filters[name]
		p.session.Import = appendFilter(p.session.Import, name, f.Spec.ImportV4)
		p.session.Export = appendFilter(p.session.Export, name, f.Spec.ExportV4)
	}
	return p
}

func appendFilter(to []work.BGPFilter, name string, rules []resource.BGPFilterRule) []work.BGPFilter {
	for i := range rules {
		r := &rules[i]
		f := work.BGPFilter{Accept: r.Action == "Accept", Match: r.MatchOperator, Origin: r.Source, Filter: name, Index: i}
		if r.CIDR != "" {
			f.Prefix = netip.MustParsePrefix(r.CIDR)
		}
		if r.PrefixLength != nil {
			low, high := r.Lengths()
			f.MinLength, f.MaxLength = uint8(low), uint8(high)
		}
		to = append(to, f)
	}
	return to
}

// none says that nobody speaks.
func (r *rules) none() bool { return len(r.nodes) == 0 && len(r.sites) == 0 }

// own is the configuration of a host or of its site; nil: that of all counts.
func (r *rules) own(l policy.Host) *resource.BGPConfiguration {
	if c := r.nodes[l.Name]; c != nil && l.Name != "" {
		return c
	}
	for _, s := range r.sites {
		if s.hosts == nil || s.hosts.Matches(l) {
			return s.conf
		}
	}
	return nil
}

// speaks says whether a host speaks BGP; else its routes are static.
func (r *rules) speaks(l policy.Host) bool {
	switch {
	case r.own(l) != nil:
		return true
	case r.all == nil:
		return false
	}
	return r.hosts == nil || r.hosts.Matches(l)
}

// asn is a host's AS number, port where it listens.
func (r *rules) asn(l policy.Host) uint32 {
	for _, c := range []*resource.BGPConfiguration{r.own(l), r.all} {
		if c != nil && c.Spec.ASNumber != 0 {
			return uint32(c.Spec.ASNumber)
		}
	}
	return uint32(resource.DefaultASN)
}

func (r *rules) port(l policy.Host) uint16 {
	for _, c := range []*resource.BGPConfiguration{r.own(l), r.all} {
		if c != nil && c.Spec.ListenPort != 0 {
			return uint16(c.Spec.ListenPort)
		}
	}
	return uint16(resource.DefaultPort)
}

// cluster is the cluster id of a host that reflects; "" of one that does not.
func (r *rules) cluster(l policy.Host) string {
	if c := r.own(l); c != nil {
		if id := c.Metadata.Annotations[resource.ClusterID]; id != "" {
			return id
		}
	}
	if r.all != nil && r.reflectors != nil && r.reflectors.Matches(l) {
		return r.all.Metadata.Annotations[resource.ClusterID]
	}
	return ""
}

// communities are those that a host announces a prefix with, sorted.
func (r *rules) communities(l policy.Host, prefix netip.Prefix) []string {
	c := r.own(l)
	if c == nil || len(c.Spec.PrefixAdvertisements) == 0 {
		c = r.all
	}
	if c == nil {
		return nil
	}
	values := map[string]string{}
	for _, m := range c.Spec.Communities {
		values[m.Name] = m.Value
	}
	var all []string
	for _, adv := range c.Spec.PrefixAdvertisements {
		if net := netip.MustParsePrefix(adv.CIDR); net.Bits() > prefix.Bits() || !net.Contains(prefix.Addr()) {
			continue
		}
		for _, m := range adv.Communities {
			if v, named := values[m]; named {
				m = v
			}
			all = append(all, m)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// attributes are those of all Mesos agents on a host; a host that has left the
// cluster keeps what it had.
func (s *State) attributes(h *host) map[string]string {
	all := map[string]string{}
	for _, agent := range events.SortedKeys(h.agents) {
		for k, v := range s.cluster.Hosts[agent].Attributes {
			all[k] = v
		}
	}
	return all
}

// cover sorts networks and leaves out those that lie in others.
func cover(nets []netip.Prefix) []netip.Prefix {
	slices.SortFunc(nets, netip.Prefix.Compare)
	var kept []netip.Prefix
	for _, p := range nets {
		if n := len(kept); n > 0 && kept[n-1].Bits() <= p.Bits() && kept[n-1].Contains(p.Addr()) {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}
