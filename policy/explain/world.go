// Package explain answers whether one party may reach another, and which rule
// of which policy, written where and reviewed as what, said so at each end.
//
//	policies ─┐
//	          ├─▶ World ── Explain(question) ──▶ Answer ── WriteText, or JSON
//	endpoints ┘
//
// A World is made of files, or of what a controller has in force.
package explain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/snapshot"
)

// Errors that Explain's errors wrap.
var (
	ErrNobody    = errors.New("there is no such endpoint, app, label, address or network set")
	ErrAmbiguous = errors.New("several network sets have this name")
	ErrPort      = errors.New("not a port")
)

// World is policies and endpoints at one moment.
type World struct {
	Resolver  *policy.Resolver
	endpoints map[string]policy.Endpoint
	ids       []string            // sorted
	apps      map[string][]string // the ids of each app's endpoints, sorted
	origins   map[string]events.Origin
	tasks     map[string]string // endpoints' ids by those of their tasks, where these differ
}

// New makes a world of resources and endpoints. Origins, which may be nil, say
// by which changes the resources were applied, by their keys as text. An error
// is resource.Problems.
func New(resources []events.Resource, endpoints []policy.Endpoint, origins map[string]events.Origin) (*World, error) {
	r := policy.NewResolver()
	if err := r.Apply(resources, nil); err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		r.PutEndpoint(e)
	}
	return Of(r, endpoints, origins), nil
}

// Of makes a world of a resolver with its endpoints and resources. The world
// answers from the resolver itself.
func Of(r *policy.Resolver, endpoints []policy.Endpoint, origins map[string]events.Origin) *World {
	w := &World{Resolver: r, endpoints: make(map[string]policy.Endpoint, len(endpoints)), apps: map[string][]string{}, origins: origins}
	for _, e := range endpoints {
		w.endpoints[e.ID] = e
	}
	w.ids = events.SortedKeys(w.endpoints)
	for _, id := range w.ids {
		app := w.endpoints[id].Labels["taskwall/app"]
		w.apps[app] = append(w.apps[app], id)
	}
	return w
}

// Offline makes a world of a directory of policies and a file of endpoints.
// Without a file there are no endpoints but those that are put later.
func Offline(policies, endpoints string) (*World, error) {
	resources, err := resource.Load(policies)
	if err != nil {
		return nil, err
	}
	var list []snapshot.Endpoint
	if endpoints != "" {
		if list, err = snapshot.Load(endpoints); err != nil {
			return nil, err
		}
	}
	return New(resources, snapshot.Policies(list), nil)
}

// NameTask lets Find find an endpoint by a task's id. It need not be told of
// tasks whose endpoints are named after them, as those of Marathon's apps are.
func (w *World) NameTask(task, endpoint string) {
	if w.tasks == nil {
		w.tasks = map[string]string{}
	}
	w.tasks[task] = endpoint
}

// Put adds an endpoint, or changes it.
func (w *World) Put(e policy.Endpoint) {
	w.forget(e.ID)
	w.endpoints[e.ID] = e
	w.ids = with(w.ids, e.ID)
	app := e.Labels["taskwall/app"]
	w.apps[app] = with(w.apps[app], e.ID)
	w.Resolver.PutEndpoint(e)
}

// Remove removes an endpoint.
func (w *World) Remove(id string) {
	if w.forget(id) {
		w.Resolver.DeleteEndpoint(id)
	}
}

func (w *World) forget(id string) (known bool) {
	e, known := w.endpoints[id]
	if known {
		delete(w.endpoints, id)
		w.ids = without(w.ids, id)
		app := e.Labels["taskwall/app"]
		w.apps[app] = without(w.apps[app], id)
	}
	return known
}

func with(sorted []string, id string) []string {
	i, _ := slices.BinarySearch(sorted, id)
	return slices.Insert(sorted, i, id)
}

func without(sorted []string, id string) []string {
	i, _ := slices.BinarySearch(sorted, id)
	return slices.Delete(sorted, i, i+1)
}

// Endpoint is the endpoint of an id.
func (w *World) Endpoint(id string) (e policy.Endpoint, known bool) {
	e, known = w.endpoints[id]
	return e, known
}

// OfApp are the endpoints of an app, sorted by id.
func (w *World) OfApp(app string) []policy.Endpoint {
	list := make([]policy.Endpoint, len(w.apps[app]))
	for i, id := range w.apps[app] {
		list[i] = w.endpoints[id]
	}
	return list
}

// Endpoints are all endpoints, sorted by id.
func (w *World) Endpoints() []policy.Endpoint {
	list := make([]policy.Endpoint, len(w.ids))
	for i, id := range w.ids {
		list[i] = w.endpoints[id]
	}
	return list
}

// Port is what a packet asks for: a protocol with a port number, an ICMP type
// and code, or a protocol alone.
type Port struct {
	Protocol   resource.Protocol
	Number     uint16
	Type, Code int // of ICMP
}

// ParsePort reads "8443" (TCP), "53/udp", "icmp" (an echo request), "icmp/3/1",
// a protocol such as "47", or the name of a port of the receiver, such as
// "http" or "dns/udp".
func (w *World) ParsePort(text string, to policy.Party) (Port, error) {
	first, second, hasSecond := strings.Cut(text, "/")
	if strings.EqualFold(first, "icmp") {
		p := Port{Protocol: resource.ICMPv4, Type: 8}
		kind, code, hasCode := strings.Cut(second, "/")
		var err error
		if hasSecond {
			p.Type, err = strconv.Atoi(kind)
		}
		if hasCode && err == nil {
			p.Code, err = strconv.Atoi(code)
		}
		if err != nil {
			return p, fmt.Errorf("%q: %w: write icmp/type/code", text, ErrPort)
		}
		return p, nil
	}
	protocol := resource.TCP
	if hasSecond {
		var err error
		if protocol, err = resource.ParseProtocol(second); err != nil {
			return Port{}, fmt.Errorf("%q: %w: %w", text, ErrPort, err)
		}
	}
	if n, err := strconv.ParseUint(first, 10, 16); err == nil {
		return Port{Protocol: protocol, Number: uint16(n)}, nil
	}
	for _, p := range w.endpoints[to.Endpoint].Ports {
		if p.Name == first && (!hasSecond || strings.EqualFold(p.Protocol, protocol.String())) {
			if protocol, err := resource.ParseProtocol(p.Protocol); err == nil {
				return Port{Protocol: protocol, Number: uint16(p.Number)}, nil
			}
		}
	}
	if p, err := resource.ParseProtocol(first); err == nil && !hasSecond && !p.HasPorts() {
		return Port{Protocol: p}, nil
	}
	return Port{}, fmt.Errorf("%q: %w: write a number such as 8443 or 53/udp, a port name of the receiver, or icmp", text, ErrPort)
}

// String is the port as ParsePort reads it.
func (p Port) String() string {
	switch {
	case p.Protocol == resource.ICMPv4:
		return fmt.Sprintf("icmp/%d/%d", p.Type, p.Code)
	case p.Protocol.HasPorts():
		return fmt.Sprintf("%d/%s", p.Number, strings.ToLower(p.Protocol.String()))
	}
	return strings.ToLower(p.Protocol.String())
}

// ephemeral is the source port of the packets that are asked about.
const ephemeral = 40000

// Packet is the packet that asks for the port.
func (p Port) Packet(from, to policy.Party) policy.Packet {
	packet := policy.Packet{From: from, To: to, Protocol: int(p.Protocol), DstPort: p.Number, ICMPType: p.Type, ICMPCode: p.Code}
	if p.Protocol.HasPorts() {
		packet.SrcPort = ephemeral
	}
	return packet
}
