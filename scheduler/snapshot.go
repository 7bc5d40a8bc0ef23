package scheduler

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/taskwall/taskwall/events"
)

// snapshotVersion is raised when the form below changes. A snapshot of another
// version is not read: the state is then folded from the log instead.
const snapshotVersion = 2

// snapshot is the form of a State at rest. It holds what the log says and what
// depends on the past; all else is derived again. At rest it is binary
// (MarshalBinary) or, for people, JSON.
type snapshot struct {
	Version   int                      `json:"version"`
	Seq       uint64                   `json:"seq"`
	Now       time.Time                `json:"now"`
	Settings  events.Settings          `json:"settings"`
	Cluster   *events.Cluster          `json:"cluster"`
	Resources []events.Resource        `json:"resources"`
	Commits   map[string]events.Origin `json:"commits,omitempty"`
	Blocks    []*block                 `json:"blocks"`
	Cursor    map[string]netip.Addr    `json:"cursor"`
	Hosts     []hostAtRest             `json:"hosts"`
	Endpoints []endpointAtRest         `json:"endpoints"`
	Refusal   *Refusal                 `json:"refusal,omitempty"`
	Reports   uint64                   `json:"reports,omitempty"`
	// Nested are, in a binary snapshot, the tasks that are nested, with their
	// executors' networks: they are few, and have no column in its table.
	Nested map[string][]events.Network `json:"nested,omitempty"`
}

type hostAtRest struct {
	Name    string                `json:"name"`
	Rev     uint64                `json:"rev"`
	Joined  bool                  `json:"joined"`
	Address netip.Addr            `json:"address,omitzero"`
	Agents  []string              `json:"agents,omitempty"`
	Ending  map[string]netip.Addr `json:"ending,omitempty"`
	// Attributes outlive the Mesos agents that had them.
	Attributes map[string]string   `json:"attributes,omitempty"`
	Drain      *drained            `json:"drain,omitempty"`
	Sessions   map[string]session  `json:"sessions,omitempty"`
	Refusals   map[string]refusals `json:"refusals,omitempty"`
}

type endpointAtRest struct {
	ID          string             `json:"id"`
	Host        string             `json:"host"`
	Agent       string             `json:"agent"`
	Network     string             `json:"network"`
	Docker      bool               `json:"docker,omitempty"`
	App         string             `json:"app"`
	Task        string             `json:"task"`
	Labels      map[string]string  `json:"labels"`
	Environment string             `json:"environment,omitempty"`
	Ports       []events.Port      `json:"ports,omitempty"`
	Address     netip.Addr         `json:"address,omitzero"`
	Refused     string             `json:"refused,omitempty"`
	Wiring      events.WiringState `json:"wiring,omitempty"`
	Wired       time.Time          `json:"wired,omitzero"`
	Failure     string             `json:"failure,omitempty"`
}

// MarshalJSON writes the state as a snapshot that people can read. Equal states
// give equal bytes.
func (s *State) MarshalJSON() ([]byte, error) { return json.Marshal(s.atRest(SnapshotForm)) }

// UnmarshalJSON makes the state equal to the one that the snapshot was taken
// of. On an error the state is as new.
func (s *State) UnmarshalJSON(data []byte) error {
	snap := snapshot{Cluster: events.NewCluster()}
	if err := json.Unmarshal(data, &snap); err != nil {
		*s = *NewState()
		return fmt.Errorf("reading a snapshot of the state: %w", err)
	}
	return s.restore(&snap)
}

func (s *State) atRest(form string) *snapshot {
	snap := &snapshot{
		Version: snapshotVersion, Seq: s.seq, Now: s.now, Settings: s.settings, Cluster: s.cluster,
		Resources: s.resolver.Resources(), Commits: s.commits, Cursor: s.addrs.cursor, Refusal: s.refusal,
		Reports: s.reports,
	}
	if s.refusal != nil && form == SnapshotForm {
		snap.Refusal = &Refusal{Seq: s.refusal.Seq} // words change: a state is signed without them
	}
	for _, p := range sortedPrefixes(s.addrs.blocks) {
		snap.Blocks = append(snap.Blocks, s.addrs.blocks[p])
	}
	for _, name := range events.SortedKeys(s.hosts) {
		h := s.hosts[name]
		snap.Hosts = append(snap.Hosts, hostAtRest{
			Name: h.name, Rev: h.rev, Joined: h.joined, Address: h.address,
			Agents: events.SortedKeys(h.agents), Ending: h.ending,
			Attributes: h.attributes, Drain: h.drain, Sessions: h.sessions, Refusals: h.refusals,
		})
	}
	for _, id := range events.SortedKeys(s.endpoints) {
		e := s.endpoints[id]
		snap.Endpoints = append(snap.Endpoints, endpointAtRest{
			ID: e.id, Host: e.host.name, Agent: e.agent, Network: e.network, Docker: e.docker, App: e.app, Task: e.task,
			Labels: e.labels, Environment: e.env, Ports: e.ports, Address: e.address, Refused: e.refused,
			Wiring: e.wiring, Wired: e.wired, Failure: e.failure,
		})
	}
	return snap
}
