package mesos

import (
	"slices"

	"github.com/taskwall/taskwall/events"
)

// A host is known by its Mesos agent's hostname: two agents that share one are
// one host, of which one taskwall agent can be in charge. The tasks of the other
// machine, or of the other Mesos agent of the same, get no network.

// sayShared says of each hostname that registered agents share, once that they
// do and once that they do not any more.
func (s *Source) sayShared(agents []wireAgent) {
	ids := map[string][]string{}
	for i := range agents {
		name := agents[i].Info.Hostname
		ids[name] = append(ids[name], agents[i].Info.ID.Value)
	}
	var shared []string
	for _, name := range events.SortedKeys(ids) {
		if len(ids[name]) > 1 {
			shared = append(shared, s.limits.Text(name))
			if !slices.Contains(s.shared, s.limits.Text(name)) {
				s.log.Error("mesos: agents have one hostname, and so are one host: only one of them gets networks for its tasks. Give each a --hostname of its own",
					"hostname", s.limits.Text(name), "agents", ids[name][:min(len(ids[name]), 10)])
			}
		}
	}
	for _, name := range s.shared {
		if !slices.Contains(shared, name) {
			s.log.Info("mesos: a hostname is one agent's again", "hostname", name)
		}
	}
	s.shared = shared
	s.board.Update(func(st *Status) { st.Shared = shared })
}
