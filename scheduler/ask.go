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

// Endpoint pictures one endpoint.
func (s *State) Endpoint(id string) (EndpointView, bool) {
	e := s.endpoints[id]
	if e == nil {
		return EndpointView{}, false
	}
	return s.viewEndpoint(e), true
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
