package scheduler

import (
	"net/netip"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
)

// Resolver is what the state's policies and endpoints add up to. It is for
// questions: whoever changes it makes the state another than the log says.
func (s *State) Resolver() *policy.Resolver { return s.resolver }

// Endpoints are the endpoints as the resolver has them, sorted by id.
func (s *State) Endpoints() []policy.Endpoint {
	list := make([]policy.Endpoint, 0, len(s.endpoints))
	for _, id := range events.SortedKeys(s.endpoints) {
		list = append(list, s.endpoints[id].resolved())
	}
	return list
}

// Touched are the ids of the endpoints that the last entry may have changed, or
// ended, in no order; one may be named twice. The next Apply overwrites them.
func (s *State) Touched() []string { return s.touched }

// Resolved is one endpoint as the resolver has it.
func (s *State) Resolved(id string) (policy.Endpoint, bool) {
	e := s.endpoints[id]
	if e == nil {
		return policy.Endpoint{}, false
	}
	return e.resolved(), true
}

// Endpoint pictures one endpoint.
func (s *State) Endpoint(id string) (EndpointView, bool) {
	e := s.endpoints[id]
	if e == nil {
		return EndpointView{}, false
	}
	return s.viewEndpoint(e), true
}

// Tasks are the ids of the tasks of an endpoint, sorted by their keys.
func (s *State) Tasks(endpoint string) []string {
	var ids []string
	for _, key := range s.tasks[endpoint] {
		ids = append(ids, s.cluster.Tasks[key].ID)
	}
	return ids
}

// Task is a Mesos task by its key.
func (s *State) Task(key string) (events.Task, bool) {
	t, ok := s.cluster.Tasks[key]
	return t, ok
}

// Host is a Mesos agent's host by the agent's id.
func (s *State) Host(agent string) (events.Host, bool) {
	h, ok := s.cluster.Hosts[agent]
	return h, ok
}

// Holder is the endpoint that holds an address: it has it, or had it and its
// host has not yet said that nothing of it is left.
func (s *State) Holder(a netip.Addr) (endpoint string, held bool) {
	if !a.Is4() {
		return "", false
	}
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			return "", false
		}
		if b := s.addrs.blocks[p]; b != nil {
			endpoint, held = b.Used[a]
			return endpoint, held
		}
	}
	return "", false
}

// On are the ids of the endpoints, or of what may become one, whose tasks are
// on a Mesos agent; Of of those that a framework launched. Both are sorted.
func (s *State) On(agent string) []string { return events.SortedKeys(s.byAgent[agent]) }

// Of is described at On.
func (s *State) Of(framework string) []string { return events.SortedKeys(s.byFramework[framework]) }

// Marathon is what Marathon said of itself; nil before that.
func (s *State) Marathon() *events.Marathon { return s.cluster.Marathon }

// App is a Marathon app or pod by its id.
func (s *State) App(id string) (events.App, bool) {
	a, ok := s.cluster.Apps[id]
	return a, ok
}

// Refusal is the last policy change that could not be applied; nil when there
// was none.
func (s *State) Refusal() *Refusal { return s.refusal }
