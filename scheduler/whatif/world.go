package whatif

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/policy/resource"
)

// world is the policies of one side, with what is in which of their sets.
type world struct {
	r        *policy.Resolver
	programs map[string]string              // by posture, names in the book
	rules    map[string]string              // by those names, what the rules do
	sets     map[string]map[string]struct{} // members of the sets in use
	in       map[string]map[string]struct{} // sets by member without port
	ports    map[string]map[string]struct{} // "set port" by address
	nets     map[netip.Prefix]map[string]struct{}
	bits     []int // lengths of nets, sorted
}

func newWorld() *world {
	return &world{
		r: policy.NewResolver(), programs: map[string]string{}, rules: map[string]string{}, sets: map[string]map[string]struct{}{},
		in: map[string]map[string]struct{}{}, ports: map[string]map[string]struct{}{},
		nets: map[netip.Prefix]map[string]struct{}{},
	}
}

// flush takes in what changed, and says which endpoints, postures and addresses
// it concerns; nets reports whether sets list other networks.
func (w *world) flush(book *reach.Book) (c changed) {
	d := w.r.Flush()
	c.endpoints, c.postures, c.addresses = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range d.Endpoints {
		c.endpoints[e.ID] = true
	}
	for i := range d.Programs {
		p := &d.Programs[i]
		name := programName(p)
		book.Program(name, p)
		if w.programs[p.ID] != name {
			w.programs[p.ID] = name
			w.rules[name] = ruleName(p)
			c.postures[p.ID] = true
		}
	}
	for _, id := range d.GonePrograms {
		delete(w.programs, id)
	}
	for _, id := range d.GoneSets {
		for m := range w.sets[id] {
			w.leave(id, m, &c)
		}
		delete(w.sets, id)
	}
	for _, s := range d.Sets {
		w.sets[s.ID] = map[string]struct{}{}
		for _, m := range s.Members {
			w.enter(s.ID, m, &c)
		}
	}
	for _, e := range d.Members {
		for _, m := range e.Remove {
			w.leave(e.ID, m, &c)
		}
		for _, m := range e.Add {
			w.enter(e.ID, m, &c)
		}
	}
	return c
}

// changed is whom a flush concerns.
type changed struct {
	endpoints, postures, addresses map[string]bool
	nets                           bool
}

// programName tells programs apart by what they say.
func programName(p *work.Program) string {
	b, err := json.Marshal([]any{p.Ingress, p.Egress})
	if err != nil {
		panic("whatif: writing a program: " + err.Error()) // plain data: cannot fail
	}
	sum := sha256.Sum256(b)
	return string(sum[:16])
}

// ruleName tells programs apart by what their rules do, wherever they come from.
func ruleName(p *work.Program) string {
	b, err := json.Marshal([]any{work.Effect(p.Ingress), work.Effect(p.Egress)})
	if err != nil {
		panic("whatif: writing a program: " + err.Error())
	}
	return string(b)
}

func (w *world) enter(set, member string, c *changed) {
	w.sets[set][member] = struct{}{}
	host, port, hasPort := strings.Cut(member, ",")
	switch {
	case hasPort:
		add(w.ports, host, set+" "+port)
		c.addresses[host] = true
	default:
		add(w.in, host, set)
		if p, err := resource.ParseNet(host); err == nil && strings.Contains(host, "/") {
			if w.nets[p] == nil {
				w.nets[p] = map[string]struct{}{}
				w.measure()
			}
			w.nets[p][set] = struct{}{}
			c.nets = true
		}
		c.addresses[host] = true
	}
}

func (w *world) leave(set, member string, c *changed) {
	delete(w.sets[set], member)
	host, port, hasPort := strings.Cut(member, ",")
	if hasPort {
		remove(w.ports, host, set+" "+port)
	} else {
		remove(w.in, host, set)
		if p, err := resource.ParseNet(host); err == nil && w.nets[p] != nil {
			if delete(w.nets[p], set); len(w.nets[p]) == 0 {
				delete(w.nets, p)
				w.measure()
			}
			c.nets = true
		}
	}
	c.addresses[host] = true
}

func (w *world) measure() {
	w.bits = w.bits[:0]
	for p := range w.nets {
		w.bits = append(w.bits, p.Bits())
	}
	slices.Sort(w.bits)
	w.bits = slices.Compact(w.bits)
}

// listed are the sets that have an address as a part of a network no smaller
// than so many bits.
func (w *world) listed(a netip.Addr, most int) []string {
	var sets []string
	for _, bits := range w.bits {
		p, err := a.Prefix(bits)
		if err != nil || bits > most {
			continue
		}
		for s := range w.nets[p] {
			sets = append(sets, s)
		}
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

// of are all sets that have an address.
func (w *world) of(a netip.Addr) []string {
	sets := w.listed(a, 32)
	for s := range w.in[a.String()] {
		sets = append(sets, s)
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

// around are all sets that have the whole of a network.
func (w *world) around(p netip.Prefix) []string {
	if p.IsSingleIP() {
		return w.of(p.Addr())
	}
	if p.Bits() == 0 { // sets hold it as two halves
		low, high := w.nets[netip.MustParsePrefix("0.0.0.0/1")], w.nets[netip.MustParsePrefix("128.0.0.0/1")]
		var sets []string
		for s := range low {
			if _, both := high[s]; both {
				sets = append(sets, s)
			}
		}
		slices.Sort(sets)
		return sets
	}
	return w.listed(p.Addr(), p.Bits())
}

// common are those of a list of sets that another world has in use, too.
func (w *world) common(sets []string) []string {
	return slices.DeleteFunc(slices.Clone(sets), func(s string) bool { return w.sets[s] == nil })
}

func (w *world) named(a netip.Addr) []reach.NamedPort {
	var out []reach.NamedPort
	for text := range w.ports[a.String()] {
		set, port, _ := strings.Cut(text, " ")
		out = append(out, reach.NamedPort{Set: set, Port: port})
	}
	slices.SortFunc(out, func(a, b reach.NamedPort) int { return strings.Compare(a.Set+" "+a.Port, b.Set+" "+b.Port) })
	return out
}

func add(m map[string]map[string]struct{}, key, value string) {
	if m[key] == nil {
		m[key] = map[string]struct{}{}
	}
	m[key][value] = struct{}{}
}

func remove(m map[string]map[string]struct{}, key, value string) {
	if delete(m[key], value); len(m[key]) == 0 {
		delete(m, key)
	}
}

// appendList writes a list so that lists can't flow into each other.
func appendList(key []byte, list []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(list)))
	for _, s := range list {
		key = binary.AppendUvarint(key, uint64(len(s)))
		key = append(key, s...)
	}
	return key
}
