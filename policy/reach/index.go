package reach

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// Index is the endpoints, networks and programs of one moment, ready for
// questions. It does not follow later changes.
type Index struct {
	classes []*class
	classOf map[string]*class // by endpoint id
	groupOf map[string]*group
	numbers map[string]int // of the sets in use, by id
	nets    map[netip.Prefix]*network
	taken   []netip.Addr // of endpoints, sorted
}

// class is endpoints, or addresses, that no rule can tell apart.
type class struct {
	program *program // nil for addresses that no endpoint has
	sets    []int    // that it is in, sorted
	ports   []namedPort
	groups  []*group
}

// namedPort says that a set of ports has a class's addresses with this port.
type namedPort struct {
	set      int
	protocol int
	number   uint16
}

// group is the endpoints of a class that have one app and environment.
type group struct {
	app, environment string
	ids              []string
}

// network is a network that sets in use, network sets or questions name.
type network struct {
	sets  []int    // in use, that list it
	names []string // of network sets that list it
}

// New indexes the endpoints that have an address, under the policies that the
// resolver has in force.
func New(r *policy.Resolver, endpoints []policy.Endpoint) *Index {
	x := &Index{
		classOf: map[string]*class{}, groupOf: map[string]*group{}, numbers: map[string]int{},
		nets: map[netip.Prefix]*network{},
	}
	programs := x.programs(r, endpoints)
	members := x.members(r, endpoints)
	x.name(r)
	byKey := map[string]*class{}
	groups := map[*class]map[[2]string]*group{}
	levels := x.levels()
	var key []byte
	for i := range endpoints {
		e := &endpoints[i]
		if !e.Address.Is4() {
			continue
		}
		at := members[e.Address]
		for _, bits := range levels {
			if p, err := e.Address.Prefix(bits); err == nil && x.nets[p] != nil {
				at.sets = append(at.sets, x.nets[p].sets...)
			}
		}
		slices.Sort(at.sets)
		at.sets = slices.Compact(at.sets)
		posture := r.Posture(e.ID)
		key = append(append(key[:0], posture...), 0)
		key = binary.AppendUvarint(key, uint64(len(at.sets)))
		for _, s := range at.sets {
			key = binary.AppendUvarint(key, uint64(s))
		}
		for _, p := range at.ports {
			key = binary.AppendUvarint(key, uint64(p.set))
			key = binary.BigEndian.AppendUint16(append(key, byte(p.protocol)), p.number)
		}
		c := byKey[string(key)]
		if c == nil {
			c = &class{program: programs[posture], sets: slices.Clone(at.sets), ports: at.ports}
			byKey[string(key)] = c
			groups[c] = map[[2]string]*group{}
			x.classes = append(x.classes, c)
		}
		app := e.Labels["taskwall/app"]
		if app == "" {
			app = e.ID
		}
		g := groups[c][[2]string{app, e.Environment}]
		if g == nil {
			g = &group{app: app, environment: e.Environment}
			groups[c][[2]string{app, e.Environment}] = g
			c.groups = append(c.groups, g)
		}
		g.ids = append(g.ids, e.ID)
		x.classOf[e.ID], x.groupOf[e.ID] = c, g
		x.taken = append(x.taken, e.Address)
	}
	slices.SortFunc(x.taken, netip.Addr.Compare)
	x.taken = slices.Compact(x.taken)
	return x
}

// programs compiles the program of each posture, and numbers their sets.
func (x *Index) programs(r *policy.Resolver, endpoints []policy.Endpoint) map[string]*program {
	programs := map[string]*program{"": {}}
	for i := range endpoints {
		posture := r.Posture(endpoints[i].ID)
		if programs[posture] != nil {
			continue
		}
		p, _ := r.Program(posture) // a posture that an endpoint has
		programs[posture] = x.compile(&p)
	}
	return programs
}

// membership is which sets hold an address, and with which ports.
type membership struct {
	sets  []int
	ports []namedPort
}

// members reads the sets in use: what endpoints' addresses are in, and the
// networks that sets list.
func (x *Index) members(r *policy.Resolver, endpoints []policy.Endpoint) map[netip.Addr]membership {
	at := make(map[netip.Addr]membership, len(endpoints))
	for i := range endpoints {
		if a := endpoints[i].Address; a.Is4() {
			at[a] = membership{}
		}
	}
	ids := make([]string, len(x.numbers))
	for id, n := range x.numbers {
		ids[n] = id
	}
	for n, id := range ids {
		set, _ := r.Set(id) // a set that a program in use names
		for _, text := range set.Members {
			host, port, hasPort := strings.Cut(text, ",")
			a, err := netip.ParseAddr(host)
			if m, known := at[a]; err == nil && known {
				if hasPort {
					m.ports = append(m.ports, parseNamed(n, port))
				} else {
					m.sets = append(m.sets, n)
				}
				at[a] = m
			} else if p, err := resource.ParseNet(host); err == nil && !hasPort {
				net := x.net(p)
				net.sets = append(net.sets, n)
			}
		}
	}
	x.whole()
	return at
}

// whole puts a network of all addresses together again, which sets hold as two
// halves.
func (x *Index) whole() {
	low, high := netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")
	if x.nets[low] == nil || x.nets[high] == nil {
		return
	}
	for _, n := range slices.Clone(x.nets[low].sets) {
		if slices.Contains(x.nets[high].sets, n) {
			all := x.net(everywhere)
			all.sets = append(all.sets, n)
			for _, p := range []netip.Prefix{low, high} {
				x.nets[p].sets = slices.DeleteFunc(x.nets[p].sets, func(s int) bool { return s == n })
			}
		}
	}
	for _, p := range []netip.Prefix{low, high} {
		if len(x.nets[p].sets) == 0 {
			delete(x.nets, p)
		}
	}
}

// name notes the network sets' names, so that an answer can give them.
func (x *Index) name(r *policy.Resolver) {
	for _, raw := range r.Resources() {
		if raw.Kind != resource.KindNetworkSet && raw.Kind != resource.KindGlobalNetworkSet {
			continue
		}
		typed, err := resource.Parse(raw)
		if err != nil {
			continue // it is in force, so it parses
		}
		for _, text := range typed.(*resource.Set).Spec.Nets {
			if p, err := resource.ParseNet(text); err == nil && p.Addr().Is4() {
				net := x.net(p)
				if name := raw.String(); !slices.Contains(net.names, name) {
					net.names = append(net.names, name)
				}
			}
		}
	}
}

func (x *Index) net(p netip.Prefix) *network {
	p = p.Masked()
	n := x.nets[p]
	if n == nil {
		n = &network{}
		x.nets[p] = n
	}
	return n
}

// levels are the lengths of the prefixes in use.
func (x *Index) levels() []int {
	var levels []int
	for p := range x.nets {
		if !slices.Contains(levels, p.Bits()) {
			levels = append(levels, p.Bits())
		}
	}
	return levels
}
