package scheduler

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// RouteView is a network that tasks have addresses in, and the way to it.
type RouteView struct {
	Prefix  netip.Prefix `json:"prefix"`
	Pool    string       `json:"pool,omitempty"` // of a block
	Host    string       `json:"host"`
	NextHop netip.Addr   `json:"nextHop,omitzero"`
	// Mode is "bgp" when its host announces it, "static" when every other host
	// has a static route to it, "none" when nobody has it now.
	Mode        string   `json:"mode"`
	Communities []string `json:"communities,omitempty"`
	// Sessions counts those of its host, Established those that carry it.
	Sessions    int    `json:"sessions"`
	Established int    `json:"established"`
	Problem     string `json:"problem,omitempty"`
	// Paths are the ways to it that one host has, the best first, if one was
	// asked about.
	Paths []PathView `json:"paths,omitempty"`
}

// PathView is a way that one host has to a network, as far as can be told from
// the sessions that hosts report. What a router passes on only its host knows.
type PathView struct {
	Via     string     `json:"via"` // "local", "static" or a peer's name
	NextHop netip.Addr `json:"nextHop,omitzero"`
	Usable  bool       `json:"usable"`
	Chosen  bool       `json:"chosen"`
	Why     string     `json:"why"`

	preference uint32
}

// Routes pictures the networks of all hosts' tasks, sorted, and the ways that
// the host from has to them; from may be "". False when there is no such host.
func (s *State) Routes(from string) ([]RouteView, bool) {
	h := s.hosts[from]
	if h == nil && from != "" {
		return nil, false
	}
	routes := []RouteView{}
	for _, p := range sortedPrefixes(s.addrs.blocks) {
		block := s.addrs.blocks[p]
		routes = append(routes, s.viewRoute(p, block.Pool, s.hosts[block.Host]))
	}
	for _, name := range events.SortedKeys(s.hosts) {
		if o := s.hosts[name]; o.bgp != nil {
			for _, a := range o.bgp.Announce {
				if s.addrs.blocks[a.Prefix] == nil {
					routes = append(routes, s.viewRoute(a.Prefix, "", o))
				}
			}
		}
	}
	slices.SortStableFunc(routes, func(a, b RouteView) int { return a.Prefix.Compare(b.Prefix) })
	if h != nil {
		ways := s.ways(h)
		for i := range routes {
			routes[i].Paths = s.paths(h, s.hosts[routes[i].Host], routes[i].Prefix, ways)
		}
	}
	return routes, true
}

func (s *State) viewRoute(p netip.Prefix, pool string, o *host) RouteView {
	v := RouteView{Prefix: p, Pool: pool, Host: o.name, NextHop: o.address, Mode: "static"}
	v.Sessions, v.Established = o.countSessions()
	switch {
	case len(o.agents) == 0:
		v.Mode, v.Problem = "none", "its host has left the cluster; the next host that needs a block takes it over"
	case !o.joined:
		v.Mode, v.Problem = "none", "no taskwall agent has ever asked for work on its host"
	case !o.address.IsValid():
		v.Mode, v.Problem = "none", "the address of its host is not known"
	case o.seat == nil: // static
	default:
		v.Mode, v.Communities = "bgp", s.bgp.rules.communities(s.labels(o), p)
		switch d := o.drained(); {
		case v.Sessions == 0:
			v.Problem = "its host has no peers to announce it to"
		case v.Established == 0:
			v.Problem = fmt.Sprintf("none of its host's %d sessions is established", v.Sessions)
		case d != nil:
			v.Problem = "its host is drained by " + d.By + ": announced as the last resort"
		}
	}
	return v
}

// ways are a host's peers, by what they are good for.
type ways struct {
	direct     map[netip.Addr]*work.BGPPeer // hosts, by address
	reflectors []reflector
	routers    []*work.BGPPeer
}

type reflector struct {
	peer *work.BGPPeer
	host *host
	of   map[netip.Addr]*work.BGPPeer // its peers by address
}

func (s *State) ways(h *host) ways {
	w := ways{direct: map[netip.Addr]*work.BGPPeer{}}
	if h.bgp == nil {
		return w
	}
	for i := range h.bgp.Peers {
		p := &h.bgp.Peers[i]
		_, name, isHost := strings.Cut(p.Name, "/")
		other := s.hosts[name]
		if !isHost || other == nil {
			w.routers = append(w.routers, p)
			continue
		}
		w.direct[p.Address] = p
		if other.seat == nil || other.seat.cluster == "" || other.bgp == nil {
			continue
		}
		r := reflector{peer: p, host: other, of: map[netip.Addr]*work.BGPPeer{}}
		for j := range other.bgp.Peers {
			r.of[other.bgp.Peers[j].Address] = &other.bgp.Peers[j]
		}
		w.reflectors = append(w.reflectors, r)
	}
	return w
}

// paths are a host's ways to a network of another host, the best first.
func (s *State) paths(h, o *host, p netip.Prefix, w ways) []PathView {
	if o == h {
		return []PathView{{Via: "local", Usable: true, Chosen: true, Why: "it is the host's own"}}
	}
	if r, ok := s.way(h, p, o.name); ok {
		why := "neither host speaks BGP"
		switch {
		case h.speaks:
			why = o.name + " speaks no BGP"
		case o.speaks:
			why = h.name + " speaks no BGP"
		}
		return []PathView{{Via: "static", NextHop: r.Via, Usable: true, Chosen: true, Why: why}}
	}
	if o.seat == nil || o.bgp == nil {
		return nil
	}
	var paths []PathView
	if peer := w.direct[o.address]; peer != nil {
		paths = append(paths, h.path(peer, o.address, "a session with its host"))
	}
	for i := range w.reflectors {
		r := &w.reflectors[i]
		if r.host == o || r.of[o.address] == nil || r.of[o.address].ClusterID == (netip.Addr{}) && !s.reflects(r.host, h) {
			continue
		}
		v := h.path(r.peer, o.address, "reflected by "+r.host.name)
		if state := r.host.stateOf(r.of[o.address].Name); v.Usable && state != established {
			v.Usable, v.Why = false, fmt.Sprintf("%s has no session with %s: %s", r.host.name, o.name, state)
		}
		paths = append(paths, v)
	}
	for _, peer := range w.routers {
		v := h.path(peer, netip.Addr{}, "")
		if v.Usable {
			v.Usable, v.Why = false, "a router: what it passes on, only the host's routing table says"
		}
		paths = append(paths, v)
	}
	slices.SortStableFunc(paths, func(a, b PathView) int {
		return cmp.Or(boolOrder(a.Usable, b.Usable), cmp.Compare(b.preference, a.preference))
	})
	for i := range paths {
		switch {
		case i == 0 && paths[0].Usable:
			paths[0].Chosen = true
		case paths[i].Usable && paths[i].preference < paths[0].preference:
			paths[i].Why += "; not chosen: its local preference is lower"
		case paths[i].Usable:
			paths[i].Why += "; as good, kept in reserve"
		}
	}
	return paths
}

// reflects says whether a reflector passes on to a host what it learns.
func (s *State) reflects(r, to *host) bool {
	return slices.ContainsFunc(r.bgp.Peers, func(p work.BGPPeer) bool { return p.Address == to.address && p.ClusterID.IsValid() })
}

func (h *host) stateOf(peer string) string {
	if said, known := h.sessions[peer]; known {
		return said.State
	}
	return unknown
}

func (h *host) path(p *work.BGPPeer, next netip.Addr, why string) PathView {
	v := PathView{Via: p.Name, NextHop: next, Why: why, preference: p.LocalPref, Usable: true}
	if v.preference == 0 {
		v.preference = 100
	}
	if state := h.stateOf(p.Name); state != established {
		v.Usable, v.Why = false, "the session is not established: "+state
		if e := h.sessions[p.Name].Error; e != "" {
			v.Why += ", " + e
		}
	}
	return v
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
