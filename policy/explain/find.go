package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// FindHelp says what Find reads, for the help of commands.
const FindHelp = `an app such as /shop/web, a task's id, a label as label:tier=front, an address,
a network such as 10.8.0.0/16, or a network set by its name, with its namespace
(production/legacy) when several have that name`

// Found is what a name stands for: endpoints, and networks of addresses that may
// be nobody's.
type Found struct {
	Endpoints []policy.Endpoint // sorted by id
	Nets      []netip.Prefix
}

// Find finds what a person calls an endpoint's id, an app, a task's id, a label
// (label:key=value, or label:key whatever its value), an address, a network, or
// a network set ("set:name", its key as text, or its name alone). An error is
// ErrNobody, or ErrAmbiguous of a name that several network sets have.
func (w *World) Find(name string) (Found, error) {
	for _, id := range []string{name, w.tasks[name]} {
		if e, ok := w.endpoints[id]; ok {
			return Found{Endpoints: []policy.Endpoint{e}}, nil
		}
	}
	if label, ok := strings.CutPrefix(name, "label:"); ok {
		key, value, hasValue := strings.Cut(label, "=")
		return w.those(name, func(e *policy.Endpoint) bool {
			v, carries := w.Resolver.Guarded(*e).Labels[key]
			return carries && (!hasValue || v == value)
		})
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return w.within([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())}), nil
	}
	if p, err := netip.ParsePrefix(name); err == nil {
		return w.within([]netip.Prefix{p.Masked()}), nil
	}
	found, err := w.those(name, func(e *policy.Endpoint) bool {
		_, task, _ := strings.Cut(e.ID, "/")
		return name != "" && (e.Labels["taskwall/app"] == name || task == name)
	})
	if err == nil {
		return found, nil
	}
	if nets, ambiguous := w.netsOf(name); nets != nil || ambiguous != nil {
		return w.within(nets), ambiguous
	}
	return Found{}, err
}

// Names are the apps and the network sets that Find finds, in order.
func (w *World) Names() []string {
	names := events.SortedKeys(w.apps)
	for _, r := range w.Resolver.Resources() {
		if r.Kind == resource.KindNetworkSet || r.Kind == resource.KindGlobalNetworkSet {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
}

func (w *World) those(name string, is func(*policy.Endpoint) bool) (Found, error) {
	var f Found
	for _, id := range w.ids {
		if e := w.endpoints[id]; is(&e) {
			f.Endpoints = append(f.Endpoints, e)
		}
	}
	if len(f.Endpoints) == 0 {
		return f, fmt.Errorf("%q: %w", name, ErrNobody)
	}
	return f, nil
}

// within are networks and the endpoints that have an address in them.
func (w *World) within(nets []netip.Prefix) Found {
	f := Found{Nets: nets}
	for _, id := range w.ids {
		e := w.endpoints[id]
		if slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(e.Address) }) {
			f.Endpoints = append(f.Endpoints, e)
		}
	}
	return f
}

// netsOf are the networks of the network set of a name; nil when there is none.
func (w *World) netsOf(name string) ([]netip.Prefix, error) {
	name = strings.TrimPrefix(name, "set:")
	var nets []netip.Prefix
	var sets []string
	for _, raw := range w.Resolver.Resources() {
		if raw.Kind != resource.KindNetworkSet && raw.Kind != resource.KindGlobalNetworkSet {
			continue
		}
		if text := raw.String(); text != name && strings.TrimPrefix(text, raw.Kind+" ") != name && raw.Name != name {
			continue
		}
		typed, err := resource.Parse(raw)
		if err != nil {
			continue // it is in force, so it parses
		}
		sets = append(sets, raw.String())
		if nets == nil {
			nets = []netip.Prefix{} // a set without networks is a set
		}
		for _, text := range typed.(*resource.Set).Spec.Nets {
			if p, err := resource.ParseNet(text); err == nil {
				nets = append(nets, p.Masked())
			}
		}
	}
	if len(sets) > 1 {
		return nil, fmt.Errorf("%q: %w: name %s", name, ErrAmbiguous, strings.Join(sets, ", or "))
	}
	return nets, nil
}

// Party is the first of what Find finds: an endpoint if there is one, else an
// address.
func (w *World) Party(name string) (policy.Party, error) {
	all, err := w.parties(name)
	if err != nil {
		return policy.Party{}, err
	}
	return all[0], nil
}

// parties are all endpoints that Find finds, or else the first address.
func (w *World) parties(name string) ([]policy.Party, error) {
	f, err := w.Find(name)
	var all []policy.Party
	for i := range f.Endpoints {
		all = append(all, policy.Party{Endpoint: f.Endpoints[i].ID, Address: f.Endpoints[i].Address})
	}
	switch {
	case err != nil:
		return nil, err
	case len(all) > 0:
		return all, nil
	case len(f.Nets) > 0:
		return []policy.Party{{Address: f.Nets[0].Addr()}}, nil
	}
	return nil, fmt.Errorf("%q: %w: the network set is empty", name, ErrNobody)
}

// FindPort is Find for a name that a port may follow, as in "/shop/db:5432" or
// "10.8.0.7:53/udp"; port is nil when none does.
func (w *World) FindPort(text string) (f Found, port *Port, err error) {
	if f, err = w.Find(text); !errors.Is(err, ErrNobody) {
		return f, nil, err
	}
	i := strings.LastIndexByte(text, ':')
	if i <= 0 {
		return f, nil, err
	}
	found, without := w.Find(text[:i])
	if errors.Is(without, ErrAmbiguous) {
		return found, nil, without
	}
	if without != nil {
		return f, nil, err
	}
	var to policy.Party
	if len(found.Endpoints) > 0 {
		to.Endpoint = found.Endpoints[0].ID
	}
	p, err := w.ParsePort(text[i+1:], to)
	if err != nil {
		return f, nil, err
	}
	return found, &p, nil
}
