package scheduler

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
)

var errNotWhole = errors.New("snapshot of the state is not whole")

// restore makes the state anew. On an error it is as new.
func (s *State) restore(snap *snapshot) (err error) {
	*s = *NewState()
	defer func() {
		if err != nil {
			*s = *NewState()
		}
	}()
	if snap.Version != snapshotVersion {
		return fmt.Errorf("snapshot of the state has version %d, this program reads %d", snap.Version, snapshotVersion)
	}
	c := snap.Cluster
	if c == nil || c.Tasks == nil || c.Hosts == nil || c.Frameworks == nil || c.Apps == nil || c.Deployments == nil || slices.Contains(snap.Blocks, nil) {
		return errNotWhole
	}
	s.seq, s.now, s.settings, s.cluster = snap.Seq, snap.Now, snap.Settings, snap.Cluster
	s.refusal, s.reports = snap.Refusal, snap.Reports

	// What the policies make of the endpoints and all else have nothing in common
	// until hosts are told of both.
	resolved := make(chan error, 1)
	var postures []string
	go func() {
		var err error
		postures, err = resolve(s.resolver, snap)
		resolved <- err
	}()
	endpoints := s.restoreFacts(snap)
	if err := <-resolved; err != nil {
		return fmt.Errorf("applying the policies of a snapshot of the state: %w", err)
	}
	if len(s.endpoints) != len(endpoints) {
		return errors.New("snapshot of the state has an endpoint twice")
	}
	for i, e := range endpoints {
		s.knows(e.host, e.told(postures[i]))
	}
	s.loadBGP(s.batch)
	s.speak(s.batch)
	s.batch.done() // its items are not wanted: hosts were told
	return nil
}

// resolve gives the posture of each endpoint.
func resolve(r *policy.Resolver, snap *snapshot) ([]string, error) {
	r.SetEnvironmentLabel(snap.Settings.EnvironmentLabel)
	if err := r.Apply(snap.Resources, nil); err != nil {
		return nil, err
	}
	endpoints := make([]policy.Endpoint, len(snap.Endpoints))
	for i := range snap.Endpoints {
		e := &snap.Endpoints[i]
		endpoints[i] = policy.Endpoint{ID: e.ID, Labels: e.Labels, Environment: e.Environment, Address: e.Address, Ports: e.Ports}
	}
	return r.Load(endpoints), nil
}

// restoreFacts brings back all that policies have no part in, and returns the
// endpoints as they are in the snapshot.
func (s *State) restoreFacts(snap *snapshot) []*endpoint {
	// At their size from the start, so that they need not grow step by step.
	s.tasks = make(map[string][]string, len(snap.Cluster.Tasks))
	s.byExecutor = make(map[string][]string, len(snap.Endpoints))
	s.endpoints = make(map[string]*endpoint, len(snap.Endpoints))
	for _, t := range snap.Cluster.Tasks {
		key := t.Key()
		s.index(key, &t, holders(key, &t))
	}
	for _, b := range snap.Blocks {
		s.addrs.put(b)
	}
	if snap.Commits != nil {
		s.commits = snap.Commits
	}
	if snap.Cursor != nil {
		s.addrs.cursor = snap.Cursor
	}
	for _, at := range snap.Hosts {
		h := s.host(at.Name)
		h.rev, h.joined, h.address = at.Rev, at.Joined, at.Address
		for _, agent := range at.Agents {
			h.agents[agent] = true
		}
		for id, addr := range at.Ending {
			h.ending[id] = addr
		}
		h.attributes, h.drain = at.Attributes, at.Drain
		maps.Copy(h.sessions, at.Sessions)
		maps.Copy(h.refusals, at.Refusals)
	}
	endpoints := make([]*endpoint, len(snap.Endpoints))
	for i := range snap.Endpoints {
		at := &snap.Endpoints[i]
		e := &endpoint{
			id: at.ID, host: s.host(at.Host), agent: at.Agent, network: at.Network, docker: at.Docker, app: at.App, task: at.Task,
			labels: at.Labels, env: at.Environment, ports: at.Ports, address: at.Address, refused: at.Refused,
			wiring: at.Wiring, wired: at.Wired, failure: at.Failure,
		}
		endpoints[i], s.endpoints[e.id] = e, e
		enterFew(s.byExecutor, work.ExecutorOf(e.id), e.id)
		if e.refused != "" {
			s.waiting[e.id] = true
		}
	}
	return endpoints
}

// knows notes that a host was told of an endpoint, and so of its posture.
func (s *State) knows(h *host, e work.Endpoint) {
	h.endpoints[e.ID] = e
	delete(h.ending, e.ID)
	if e.Posture == "" {
		return
	}
	if h.programs[e.Posture]++; h.programs[e.Posture] > 1 {
		return
	}
	for _, set := range s.span.join(s.resolver, h, e.Posture) {
		if h.sets[set]++; h.sets[set] == 1 {
			s.span.need(h, set)
		}
	}
}
