package scheduler

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// View is a picture of the state for people and scripts. Lists are sorted.
type View struct {
	Seq       uint64          `json:"seq"`
	Time      time.Time       `json:"time"` // when the last entry was received
	Hosts     []HostView      `json:"hosts"`
	Endpoints []EndpointView  `json:"endpoints"`
	Postures  []PostureView   `json:"postures"`
	Pools     []PoolView      `json:"pools"`
	Settings  events.Settings `json:"settings"`
	Refusal   *Refusal        `json:"refusal,omitempty"`
}

// HostView is one host.
type HostView struct {
	Name    string         `json:"name"`
	Address netip.Addr     `json:"address,omitzero"`
	State   string         `json:"state"` // "ready", "no taskwall agent", "unreachable", "gone"
	Rev     uint64         `json:"rev"`   // of the last item made for it
	Blocks  []netip.Prefix `json:"blocks,omitempty"`
	// Routing is "bgp" or "static"; Sessions counts the BGP sessions that the
	// host should have, Established those that it has.
	Routing     string     `json:"routing"`
	Sessions    int        `json:"sessions,omitempty"`
	Established int        `json:"established,omitempty"`
	Drain       *DrainView `json:"drain,omitempty"`
	// Endpoints counts those that live; Ending those whose end it has not confirmed.
	Endpoints int `json:"endpoints"`
	Ending    int `json:"ending"`
	Postures  int `json:"postures"`
	Sets      int `json:"sets"`
}

// EndpointView is one endpoint.
type EndpointView struct {
	ID          string             `json:"id"`
	App         string             `json:"app"`
	Task        string             `json:"task"`
	State       string             `json:"state"` // of the Mesos task
	Environment string             `json:"environment,omitempty"`
	Host        string             `json:"host"`
	Address     netip.Addr         `json:"address,omitzero"`
	Posture     string             `json:"posture,omitempty"`
	Wiring      events.WiringState `json:"wiring,omitempty"`
	Problem     string             `json:"problem,omitempty"`
	Refused     []RefusedClaim     `json:"refused,omitempty"`
	Labels      map[string]string  `json:"labels,omitempty"`
	Ports       []events.Port      `json:"ports,omitempty"`
}

// RefusedClaim is a label that a LabelGuard does not let the endpoint carry:
// policies don't see it.
type RefusedClaim struct {
	Label string `json:"label"`
	Value string `json:"value"`
	Guard string `json:"guard"`
}

// PostureView is one posture in use.
type PostureView struct {
	ID        string   `json:"id"`
	Policies  []string `json:"policies"`
	Endpoints int      `json:"endpoints"`
	Hosts     int      `json:"hosts"`
}

// PoolView is one address pool.
type PoolView struct {
	Name   string       `json:"name"`
	CIDR   netip.Prefix `json:"cidr"`
	Blocks int          `json:"blocks"`
	Used   int          `json:"used"`
	Held   int          `json:"held"` // released and not yet used again
}

// View pictures the state.
func (s *State) View() View {
	v := View{
		Seq: s.seq, Time: s.now, Settings: s.settings, Refusal: s.refusal,
		Hosts: []HostView{}, Endpoints: []EndpointView{}, Postures: []PostureView{}, Pools: []PoolView{},
	}
	for _, name := range events.SortedKeys(s.hosts) {
		v.Hosts = append(v.Hosts, s.viewHost(s.hosts[name]))
	}
	for _, id := range events.SortedKeys(s.endpoints) {
		v.Endpoints = append(v.Endpoints, s.viewEndpoint(s.endpoints[id]))
	}
	for _, id := range events.SortedKeys(s.span.programs) {
		p := s.span.programs[id]
		pv := PostureView{ID: id, Policies: p.Policies, Hosts: len(p.hosts)}
		for h := range p.hosts {
			pv.Endpoints += h.programs[id]
		}
		v.Postures = append(v.Postures, pv)
	}
	for _, p := range s.resolver.Pools() {
		pv := PoolView{Name: p.Name, CIDR: p.CIDR}
		for _, b := range s.addrs.blocks {
			if b.Pool == p.Name {
				pv.Blocks++
				pv.Used += len(b.Used)
				pv.Held += len(b.Freed)
			}
		}
		v.Pools = append(v.Pools, pv)
	}
	return v
}

// HostView pictures one host.
func (s *State) HostView(name string) (HostView, bool) {
	h := s.hosts[name]
	if h == nil {
		return HostView{}, false
	}
	return s.viewHost(h), true
}

// HostState is HostView.State of one host.
func (s *State) HostState(name string) (state string, known bool) {
	h := s.hosts[name]
	if h == nil {
		return "", false
	}
	return s.hostState(h), true
}

// HostNames are all hosts that were ever seen, in no order.
func (s *State) HostNames() []string {
	return slices.Collect(maps.Keys(s.hosts))
}

func (s *State) viewHost(h *host) HostView {
	hv := HostView{
		Name: h.name, Address: h.address, State: s.hostState(h), Rev: h.rev,
		Endpoints: len(h.endpoints), Ending: len(h.ending), Postures: len(h.programs), Sets: len(h.sets),
		Routing: "static", Drain: h.drained(),
	}
	if h.speaks {
		hv.Routing = "bgp"
		hv.Sessions, hv.Established = h.countSessions()
	}
	for _, b := range s.addrs.byHost[h.name] {
		hv.Blocks = append(hv.Blocks, b.Prefix)
	}
	return hv
}

func (s *State) hostState(h *host) string {
	if len(h.agents) == 0 {
		return "gone"
	}
	reachable := false
	for agent := range h.agents {
		reachable = reachable || s.cluster.Hosts[agent].Reachable
	}
	switch {
	case !reachable:
		return "unreachable"
	case !h.joined:
		return "no taskwall agent"
	}
	return "ready"
}

func (s *State) viewEndpoint(e *endpoint) EndpointView {
	v := EndpointView{
		ID: e.id, App: e.app, Task: e.task, Environment: e.env, Host: e.host.name, Address: e.address,
		Posture: s.resolver.Posture(e.id), Wiring: e.wiring, Problem: e.refused, Labels: e.labels, Ports: e.ports,
	}
	for _, r := range s.resolver.Refusals(e.id) {
		v.Refused = append(v.Refused, RefusedClaim{r.Label, r.Value, r.Guard})
	}
	for _, key := range s.tasks[work.ExecutorOf(e.id)] {
		if t := s.cluster.Tasks[key]; t.ID == e.task {
			v.State = t.State
		}
	}
	if v.Problem == "" {
		v.Problem = e.failure
	}
	return v
}
