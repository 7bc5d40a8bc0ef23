package bgp

import (
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
	"github.com/taskwall/taskwall/events/work"
)

// The engine's two policies, the communities that they know and how much of
// what drains is preferred (RFC 8326; the engine takes a 0 for none).
const (
	importPolicy, exportPolicy = "import", "export"
	gracefulShutdown           = uint32(0xFFFF0000)
	drainedPref                = 1
)

// policies writes admission and the peers' filters down for the engine. Its
// policies are lists that every path of every peer walks; a statement says by
// its condition whose paths it is for. Default: reject.
func policies(a *admission, b *work.BGP) *api.SetPoliciesRequest {
	w := &policyWriter{req: &api.SetPoliciesRequest{}, imports: &api.Policy{Name: importPolicy}, exports: &api.Policy{Name: exportPolicy}}
	w.req.Policies = []*api.Policy{w.imports, w.exports}
	w.imported(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, verdict(true))
	w.imported(&api.Conditions{PrefixSet: w.prefixes("never", false, a.never()...)}, verdict(false))
	accept := make([]span, 0, len(a.accept))
	for _, n := range a.accept {
		accept = append(accept, span{n, n.Bits(), 32})
	}
	if len(accept) == 0 {
		w.imported(&api.Conditions{}, verdict(false))
	} else {
		w.imported(&api.Conditions{PrefixSet: w.prefixes("accept", true, accept...)}, verdict(false))
	}
	drained := w.set(api.DefinedType_DEFINED_TYPE_COMMUNITY, "drained", fmt.Sprintf("%d:%d", gracefulShutdown>>16, gracefulShutdown&0xFFFF))
	for _, p := range b.Peers {
		w.peer(b, p, drained)
	}
	return w.done()
}

// never are the networks that are refused even in an accepted one: what
// admission.refuse says of them.
func (a *admission) never() []span {
	all := []span{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), 0, 0}}
	covering := func(x netip.Addr, longest int) {
		for bits := 1; bits <= longest; bits++ {
			p, err := x.Prefix(bits)
			if err == nil {
				all = append(all, span{p, bits, bits})
			}
		}
	}
	for _, r := range reserved {
		all = append(all, span{r, r.Bits(), 32})
		covering(r.Addr(), r.Bits())
	}
	for _, h := range a.host {
		covering(h, 32)
	}
	for _, an := range a.announce {
		longest := 31
		if an.Prefix.IsSingleIP() {
			longest = 32
		}
		all = append(all, span{an.Prefix, an.Prefix.Bits(), longest})
	}
	for _, pool := range a.pools {
		covering(pool.Addr(), pool.Bits())
	}
	return all
}

// loop matches an AS path, as the engine writes it, with a number at least so
// often as is given, or with 0.
const loop = `\b0\b|(\b%d\b.*){%d}`

type policyWriter struct {
	req              *api.SetPoliciesRequest
	imports, exports *api.Policy
}

func (w *policyWriter) peer(b *work.BGP, p work.BGPPeer, drained *api.MatchSet) {
	is := w.set(api.DefinedType_DEFINED_TYPE_NEIGHBOR, "peer "+p.Address.String(), p.Address.String()+"/32")
	loop := w.set(api.DefinedType_DEFINED_TYPE_AS_PATH, "loop "+p.Address.String(), fmt.Sprintf(loop, b.ASN, int(p.AllowOwnASN)+1))
	w.imported(&api.Conditions{NeighborSet: is, AsPathSet: loop}, verdict(false))
	if p.LocalPref != 0 {
		w.imported(&api.Conditions{NeighborSet: is}, &api.Actions{LocalPref: &api.LocalPrefAction{Value: p.LocalPref}})
	}
	if p.ASN != b.ASN {
		w.imported(&api.Conditions{NeighborSet: is, CommunitySet: drained}, &api.Actions{LocalPref: &api.LocalPrefAction{Value: drainedPref}})
	}
	for i, f := range p.Import {
		for _, c := range w.conditions(fmt.Sprintf("import %s %d", p.Address, i), f) {
			c.NeighborSet = is
			w.imported(c, verdict(f.Accept))
		}
	}
	w.imported(&api.Conditions{NeighborSet: is}, verdict(true))

	if p.KeepNextHop {
		w.exported(&api.Conditions{NeighborSet: is}, &api.Actions{Nexthop: &api.NexthopAction{Unchanged: true}})
	}
	for i, f := range p.Export {
		for _, c := range w.conditions(fmt.Sprintf("export %s %d", p.Address, i), f) {
			c.NeighborSet = is
			w.exported(c, verdict(f.Accept))
		}
	}
	w.exported(&api.Conditions{NeighborSet: is}, verdict(true))
}

// conditions are those of a filter, as alternatives: the engine can ask for a
// route of inside or of outside the autonomous system, not for either.
func (w *policyWriter) conditions(name string, f work.BGPFilter) []*api.Conditions {
	s, invert := networks(f)
	set := w.prefixes(name, invert, s)
	if f.Origin != originRemote {
		return []*api.Conditions{{PrefixSet: set}}
	}
	return []*api.Conditions{
		{PrefixSet: set, RouteType: api.Conditions_ROUTE_TYPE_INTERNAL},
		{PrefixSet: set, RouteType: api.Conditions_ROUTE_TYPE_EXTERNAL},
	}
}

func (w *policyWriter) prefixes(name string, invert bool, spans ...span) *api.MatchSet {
	set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name}
	for _, s := range spans {
		set.Prefixes = append(set.Prefixes, &api.Prefix{IpPrefix: s.prefix.Masked().String(), MaskLengthMin: uint32(s.min), MaskLengthMax: uint32(s.max)})
	}
	w.req.DefinedSets = append(w.req.DefinedSets, set)
	if invert {
		return &api.MatchSet{Type: api.MatchSet_TYPE_INVERT, Name: name}
	}
	return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name}
}

func (w *policyWriter) set(t api.DefinedType, name, member string) *api.MatchSet {
	w.req.DefinedSets = append(w.req.DefinedSets, &api.DefinedSet{DefinedType: t, Name: name, List: []string{member}})
	return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name}
}

func (w *policyWriter) imported(c *api.Conditions, a *api.Actions) { w.add(w.imports, c, a) }
func (w *policyWriter) exported(c *api.Conditions, a *api.Actions) { w.add(w.exports, c, a) }

func (w *policyWriter) add(p *api.Policy, c *api.Conditions, a *api.Actions) {
	p.Statements = append(p.Statements, &api.Statement{Name: fmt.Sprintf("%s %d", p.Name, len(p.Statements)), Conditions: c, Actions: a})
}

func (w *policyWriter) done() *api.SetPoliciesRequest {
	if len(w.exports.Statements) == 0 { // a policy without statements cannot be assigned
		w.exported(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, verdict(true))
	}
	return w.req
}

func verdict(accept bool) *api.Actions {
	if accept {
		return &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}
	}
	return &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
}
