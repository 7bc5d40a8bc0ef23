package scheduler

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
)

// State is all that the log adds up to. It changes only by Apply. It is not
// safe for concurrent use.
type State struct {
	seq      uint64    // of the last entry applied
	now      time.Time // see advance
	settings events.Settings
	cluster  *events.Cluster
	resolver *policy.Resolver
	addrs    *addresses

	hosts     map[string]*host
	endpoints map[string]*endpoint
	span      *span
	batch     *batch
	bgp       *bgp
	refusal   *Refusal
	commits   map[string]events.Origin // of the resources in force, by their keys as text
	reports   uint64                   // place of the last report folded

	// tasks indexes the cluster's tasks by what they keep alive (holders), sorted;
	// byAgent and byFramework say whose endpoints a change of an agent or a
	// framework concerns.
	tasks       map[string][]string
	byAgent     map[string]map[string]bool
	byFramework map[string]map[string]bool
	byExecutor  map[string][]string // endpoints by executor, sorted: one for each of its networks
	waiting     map[string]bool     // endpoints without an address

	touched []string // endpoints that the last entry may have changed
	// shaped is the last entry since this State was made that changed what all
	// endpoints are made of; see settled.
	shaped uint64
}

// Refusal is the last policy change in the log that could not be applied. A
// controller checks a change before it appends it, so there should be none.
type Refusal struct {
	Seq uint64 `json:"seq"`
	// Error is for people. Its words are those of the program that folded the
	// entry: no snapshot holds them, so a state that starts from one has none.
	Error string `json:"error,omitempty"`
}

// NewState is the state before the first entry.
func NewState() *State {
	s := &State{
		settings:    events.DefaultSettings(),
		cluster:     events.NewCluster(),
		resolver:    policy.NewResolver(),
		addrs:       newAddresses(),
		hosts:       map[string]*host{},
		endpoints:   map[string]*endpoint{},
		span:        newSpan(),
		bgp:         newBGPState(),
		commits:     map[string]events.Origin{},
		tasks:       map[string][]string{},
		byAgent:     map[string]map[string]bool{},
		byFramework: map[string]map[string]bool{},
		byExecutor:  map[string][]string{},
		waiting:     map[string]bool{},
	}
	s.batch = &batch{span: s.span, resolver: s.resolver}
	s.resolver.SetEnvironmentLabel(s.settings.EnvironmentLabel)
	return s
}

// Seq is the log sequence of the last entry applied.
func (s *State) Seq() uint64 { return s.seq }

// LastReport is the place of the last report of a host that was folded.
func (s *State) LastReport() uint64 { return s.reports }

// Now is the latest time at which an entry was received, as far as the clock of
// who received it is believed.
func (s *State) Now() time.Time { return s.now }

// Cluster is a copy of the cluster facts, for the sources to start from.
func (s *State) Cluster() *events.Cluster { return s.cluster.Clone() }

// Settings are the settings in force.
func (s *State) Settings() events.Settings { return s.settings }

// Apply folds one entry and returns what follows from it: at most one item per
// host, in the order of the hosts' names. An entry that was already applied
// changes nothing.
func (s *State) Apply(e events.Entry) []*work.Item {
	s.touched = s.touched[:0]
	if e.Seq <= s.seq {
		return nil
	}
	s.seq = e.Seq
	if e.Event.Kind == events.Foreign || s.repeated(e.Event) {
		return nil
	}
	s.advance(e.Event.Received)
	b := s.batch
	defer b.done()
	if shapes(e.Event.Kind) {
		s.shaped = e.Seq
	}
	dirty := s.facts(e.Event)
	var was events.Host // the Mesos agent that the event is about, before it
	if ev := e.Event; ev.Kind == events.HostPut {
		was = s.cluster.Hosts[ev.Host.Agent]
	} else if ev.Kind == events.HostGone {
		was = s.cluster.Hosts[ev.Gone.Key]
	}
	s.cluster.Apply(e.Event)
	switch ev := e.Event; ev.Kind {
	case events.HostPut:
		s.putHost(b, was, *ev.Host)
	case events.PolicyApply:
		commits := s.credited(ev.Policy, e.Seq)
		if err := s.resolver.Apply(ev.Policy.Put, ev.Policy.Delete); err != nil {
			s.refusal = &Refusal{Seq: e.Seq, Error: err.Error()}
		} else {
			s.credit(ev.Policy, commits)
			s.reconfigure(b, ev.Policy)
		}
		dirty = append(dirty, events.SortedKeys(s.waiting)...) // a pool may be new
	case events.SettingsPut:
		s.settings = *ev.Settings
		s.resolver.SetEnvironmentLabel(s.settings.EnvironmentLabel)
		dirty = events.SortedKeys(s.tasks)
	case events.AgentJoin:
		s.join(b, *ev.Join)
	case events.EndpointState:
		if s.wire(*ev.Wiring) {
			dirty = append(dirty, events.SortedKeys(s.waiting)...) // an address came back
		}
	case events.BGPSession:
		s.session(*ev.Session)
	case events.BGPRefused:
		s.refuseRoute(*ev.Refused)
	case events.HostDrain:
		s.drain(*ev.Drain)
	}
	slices.Sort(dirty)
	for _, id := range slices.Compact(dirty) {
		s.evaluate(b, id)
	}
	if e.Event.Kind == events.HostGone {
		s.loseHost(b, was)
	}
	s.spread(b)
	s.speak(b)
	for _, h := range b.hosts {
		if h.change.snapshot {
			h.change.routes = s.routes(h)
		}
	}
	return b.items(work.Item{Cause: e.Seq, Time: e.Event.Received})
}

// repeated reports whether the event is a host's report that was folded
// before: an old word on an endpoint must not count against a newer one.
func (s *State) repeated(ev events.Event) bool {
	var place uint64
	switch ev.Kind {
	case events.AgentJoin:
		place = ev.Join.Report
	case events.EndpointState:
		place = ev.Wiring.Report
	case events.BGPSession:
		place = ev.Session.Report
	case events.BGPRefused:
		place = ev.Refused.Report
	}
	if place == 0 {
		return false
	}
	if place <= s.reports {
		return true
	}
	s.reports = place
	return false
}

// clockBack is how far an entry may have been received before one that lies
// before it: sources wait for the log, and the clocks of controllers differ.
const clockBack = 10 * time.Minute

// advance takes in when an entry was received. Where that goes back by more than
// clockBack, the clock of a controller had been ahead: what it said is not waited
// for, and what was released then counts as released now. Otherwise no address
// would be used again for as long as that clock was ahead.
func (s *State) advance(received time.Time) {
	switch {
	case received.After(s.now):
		s.now = received
	case s.now.Sub(received) > clockBack:
		s.now = received
		s.addrs.releasedBy(received)
	}
}

// host is the host of that name, made if it is new.
func (s *State) host(name string) *host {
	h := s.hosts[name]
	if h == nil {
		h = newHost(name)
		s.hosts[name] = h
	}
	return h
}

func (s *State) putHost(b *batch, was, m events.Host) {
	if was.Name != "" && was.Name != m.Name {
		old := s.host(was.Name)
		delete(old.agents, m.Agent)
		s.look(b, old)
	}
	h := s.host(m.Name)
	h.agents[m.Agent] = true
	s.look(b, h)
	// What the host's own agent says of its address outweighs what Mesos says.
	if addr, err := netip.ParseAddr(m.Address); err == nil && !h.joined {
		s.moveHost(b, h, addr)
	}
}

// join makes the host's next item its whole picture.
func (s *State) join(b *batch, j events.Join) {
	h := s.host(j.Host)
	h.joined = true
	if addr, err := netip.ParseAddr(j.Address); err == nil {
		s.moveHost(b, h, addr)
	}
	// A host takes nothing older than what it holds. What it says is bounded, so
	// that its revisions never end.
	if j.Rev > h.rev && j.Rev < maxRev {
		h.rev = j.Rev
	}
	b.of(h).snapshot = true
	s.look(b, h)
}

// maxRev is more than any host's revisions ever come to.
const maxRev = 1 << 62

// moveHost sets the address by which other hosts reach this one's blocks.
func (s *State) moveHost(b *batch, h *host, addr netip.Addr) {
	if h.address == addr {
		return
	}
	h.address = addr
	s.bgp.moved[h] = true
	for _, block := range s.addrs.byHost[h.name] {
		s.announce(b, block)
	}
}

// evaluate brings the endpoints of one executor, or of one task that is nested
// in it, up to what its tasks now say. An endpoint's own id will do.
func (s *State) evaluate(b *batch, id string) {
	id = work.ExecutorOf(id)
	var tasks []events.Task
	for _, key := range s.tasks[id] {
		if t := s.cluster.Tasks[key]; !events.Terminal(t.State) {
			tasks = append(tasks, t)
		}
	}
	wanted := s.derive(id, tasks)
	var gone []string
	for _, had := range s.byExecutor[id] {
		if !slices.ContainsFunc(wanted, func(e *endpoint) bool { return e.id == had }) {
			gone = append(gone, had)
		}
	}
	for _, want := range wanted {
		s.put(b, s.endpoints[want.id], want)
	}
	for _, id := range gone {
		old := s.endpoints[id]
		if len(tasks) > 0 && s.cluster.HostName(old.agent) == "" {
			continue // its agent is not known just now: it keeps what it has
		}
		s.touched = append(s.touched, id)
		s.end(b, old)
	}
}

// put puts an endpoint in the place of what it was before, if it was.
func (s *State) put(b *batch, old, want *endpoint) {
	s.touched = append(s.touched, want.id)
	want.evaluated = s.seq
	if old != nil && old.host != want.host {
		s.end(b, old) // it cannot be in two places: the old one ends first
		old = nil
	}
	if old != nil {
		want.address, want.refused = old.address, old.refused
		want.wiring, want.wired, want.failure = old.wiring, old.wired, old.failure
	}
	if !want.address.IsValid() {
		s.address(b, want)
	}
	s.endpoints[want.id] = want
	enterFew(s.byExecutor, work.ExecutorOf(want.id), want.id)
	s.resolver.PutEndpoint(want.resolved())
	b.consider = append(b.consider, want.id)
	if want.host.speaks && s.strays(want.host, want.address) {
		s.bgp.dirty[want.host] = true
	}
}

// address gives an endpoint its address, or the reason why it has none.
func (s *State) address(b *batch, e *endpoint) {
	if addr, ending := e.host.ending[e.id]; ending && addr.IsValid() {
		e.address = addr // it returned before its end was complete
		delete(e.host.ending, e.id)
		return
	}
	addr, block, err := s.addrs.assign(s.pools(e), e.host.name, e.id, s.now, s.settings.Hold,
		func(name string) bool { return len(s.hosts[name].agents) == 0 })
	switch {
	case errors.Is(err, ErrNoPool):
		e.refused = "no IPPool admits the task: every pool is disabled or has a taskwall/selector that does not match its labels"
	case err != nil:
		e.refused = err.Error()
	default:
		e.address, e.refused = addr, ""
	}
	if block != nil {
		s.announce(b, block)
	}
	if e.refused != "" {
		s.waiting[e.id] = true
	} else {
		delete(s.waiting, e.id)
	}
}

// pools are those that the endpoint may draw from, those that select it first.
// A claim that a LabelGuard refuses opens no pool.
func (s *State) pools(e *endpoint) []policy.Pool {
	admitted := s.resolver.Guarded(e.resolved())
	var chosen, open []policy.Pool
	for _, p := range s.resolver.Pools() {
		switch {
		case p.Disabled:
		case p.Selector == nil:
			open = append(open, p)
		case p.Selects(admitted.Labels, admitted.Environment):
			chosen = append(chosen, p)
		}
	}
	return append(chosen, open...)
}

// end takes an endpoint out of everything. Its address stays taken until its
// host says that nothing of it is left.
func (s *State) end(b *batch, e *endpoint) {
	s.touched = append(s.touched, e.id)
	delete(s.endpoints, e.id)
	leaveFew(s.byExecutor, work.ExecutorOf(e.id), e.id)
	delete(s.waiting, e.id)
	s.resolver.DeleteEndpoint(e.id)
	b.deleteEndpoint(e.host, e.id)
	if e.host.speaks && s.strays(e.host, e.address) {
		s.bgp.dirty[e.host] = true
	}
	if e.wiring == events.Detached || !e.host.joined {
		s.settle(e.host, e.id)
	}
}

// settle forgets an ended endpoint and releases its address, if it had one.
func (s *State) settle(h *host, id string) bool {
	addr, ending := h.ending[id]
	delete(h.ending, id)
	return ending && addr.IsValid() && s.addrs.release(h.name, addr, id, s.now)
}

// wire takes in what a host says of an endpoint, and reports whether an
// address became free by it.
func (s *State) wire(w events.Wiring) bool {
	h := s.hosts[w.Host]
	if h == nil {
		return false
	}
	if e := s.endpoints[w.Endpoint]; e != nil && e.host == h {
		e.wiring, e.failure = w.State, w.Error
		if w.State == events.Attached {
			e.wired = s.now
		}
		return false
	}
	return w.State == events.Detached && s.settle(h, w.Endpoint)
}

// loseHost ends what was on a Mesos agent that is gone. When it was the host's
// last, nobody is left to say that the endpoints are detached.
func (s *State) loseHost(b *batch, was events.Host) {
	for _, executor := range events.SortedKeys(s.byAgent[was.Agent]) {
		for _, id := range slices.Clone(s.byExecutor[executor]) { // it shrinks meanwhile
			if e := s.endpoints[id]; e.agent == was.Agent {
				s.end(b, e)
			}
		}
	}
	h := s.hosts[was.Name]
	if h == nil {
		return
	}
	if delete(h.agents, was.Agent); len(h.agents) == 0 {
		for _, id := range events.SortedKeys(h.ending) {
			s.settle(h, id)
		}
	}
	s.look(b, h)
}

// spread brings the resolver's differences to the hosts that they concern.
func (s *State) spread(b *batch) {
	delta := s.resolver.Flush()
	for _, p := range delta.Programs {
		b.putProgram(p)
	}
	for _, e := range delta.Endpoints {
		if ep := s.endpoints[e.ID]; ep != nil {
			b.putEndpoint(ep.host, ep.told(e.Posture))
		}
	}
	for _, id := range b.consider { // changed otherwise than in posture
		if ep := s.endpoints[id]; ep != nil {
			b.putEndpoint(ep.host, ep.told(s.resolver.Posture(id)))
		}
	}
	for _, e := range delta.Members {
		b.edit(e)
	}
}
