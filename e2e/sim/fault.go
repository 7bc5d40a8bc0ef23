package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim/marathon"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// Chaos says how often a stream misbehaves, as probabilities per event. Events
// of one task, agent or framework keep their order. Heartbeats and snapshots are
// never touched.
type Chaos struct {
	Drop      float64 // lost
	Duplicate float64 // sent twice
	Delay     float64 // held back until another event passes: late, and out of order with other subjects
}

// Tampered counts what a Chaos did.
type Tampered struct{ Dropped, Doubled, Delayed, Overtaken int }

// chaos applies a Chaos, the same way for the same seed and events.
type chaos struct {
	mu        sync.Mutex
	rng       *rand.Rand
	c         Chaos
	did       Tampered
	mesos     map[int][]*mesosmaster.Event
	marathons map[int][]marathon.Event
}

func newChaos(seed uint64) *chaos {
	return &chaos{
		rng:   rand.New(rand.NewPCG(seed, 1)),
		mesos: map[int][]*mesosmaster.Event{}, marathons: map[int][]marathon.Event{},
	}
}

func (c *chaos) set(to Chaos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.c = to
}

func (c *chaos) master(stream int, e *mesosmaster.Event) []*mesosmaster.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tamper(c, c.mesos, stream, e, mesosSubject)
}

func (c *chaos) marathon(stream int, e marathon.Event) []marathon.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tamper(c, c.marathons, stream, e, marathonSubject)
}

// tamper decides what becomes of an event. What is late keeps its order with
// the other events of its subject, as on the real streams.
func tamper[E any](c *chaos, held map[int][]E, stream int, e E, subject func(E) string) []E {
	x := c.rng.Float64()
	if x < c.c.Drop {
		c.did.Dropped++
		return nil
	}
	x -= c.c.Drop
	if x >= c.c.Duplicate && x < c.c.Duplicate+c.c.Delay {
		held[stream] = append(held[stream], e)
		c.did.Delayed++
		return nil
	}
	var before, after []E
	for _, late := range held[stream] {
		if subject(late) == subject(e) {
			before = append(before, late)
		} else {
			after = append(after, late)
			c.did.Overtaken++
		}
	}
	delete(held, stream)
	out := append(before, e)
	if x < c.c.Duplicate {
		out = append(out, e)
		c.did.Doubled++
	}
	return append(out, after...)
}

func mesosSubject(e *mesosmaster.Event) string {
	switch {
	case e.TaskAdded != nil:
		return e.TaskAdded.Task.TaskID.Value
	case e.TaskUpdated != nil:
		return e.TaskUpdated.Status.TaskID.Value
	case e.AgentAdded != nil:
		return e.AgentAdded.Agent.AgentInfo.GetID().GetValue()
	case e.AgentRemoved != nil:
		return e.AgentRemoved.AgentID.Value
	case e.FrameworkAdded != nil:
		return e.FrameworkAdded.Framework.FrameworkInfo.GetID().GetValue()
	case e.FrameworkUpdated != nil:
		return e.FrameworkUpdated.Framework.FrameworkInfo.GetID().GetValue()
	case e.FrameworkRemoved != nil:
		return e.FrameworkRemoved.FrameworkInfo.GetID().GetValue()
	}
	return ""
}

func marathonSubject(e marathon.Event) string {
	var id struct{ TaskID, InstanceID string }
	_ = json.Unmarshal(e.Data, &id)
	if id.InstanceID != "" {
		return id.InstanceID
	}
	if i := strings.LastIndex(id.TaskID, "._app."); i > 0 {
		return id.TaskID[:i]
	}
	return id.TaskID
}

// TamperMesos makes the operator streams misbehave from now on.
func (c *Cluster) TamperMesos(to Chaos) { c.mesos.set(to) }

// TamperMarathon makes the event streams misbehave from now on.
func (c *Cluster) TamperMarathon(to Chaos) { c.events.set(to) }

// Tampered is what became of both kinds of streams' events so far.
func (c *Cluster) Tampered() Tampered {
	var sum Tampered
	for _, x := range []*chaos{c.mesos, c.events} {
		x.mu.Lock()
		sum.Dropped += x.did.Dropped
		sum.Doubled += x.did.Doubled
		sum.Delayed += x.did.Delayed
		sum.Overtaken += x.did.Overtaken
		x.mu.Unlock()
	}
	return sum
}

// CutStreams breaks every stream of masters and Marathons.
func (c *Cluster) CutStreams() {
	if c.Marathon != nil {
		c.Marathon.CutStreams()
	}
	c.eachMaster(func(m *master.Master) { m.CutStreams() })
}

// EvictStreams makes every operator stream silent without closing it.
func (c *Cluster) EvictStreams() { c.eachMaster(func(m *master.Master) { m.EvictStreams() }) }

// MuteMesos holds heartbeats of the operator streams back.
func (c *Cluster) MuteMesos(on bool) { c.eachMaster(func(m *master.Master) { m.Mute(on) }) }

func (c *Cluster) eachMaster(f func(*master.Master)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.masters {
		if s.master != nil {
			f(s.master)
		}
	}
}

// Master is the leading master, nil when there is none.
func (c *Cluster) Master() *master.Master { return c.Quorum.Leader() }

// StopMaster kills the leading master: its port refuses connections, another
// master leads if there is one.
func (c *Cluster) StopMaster() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	leader := c.Quorum.Leader()
	for _, s := range c.masters {
		if s.master == leader && leader != nil {
			s.http.Close()
			s.master.Stop()
			s.master, s.http = nil, nil
			return nil
		}
	}
	return errNotStarted
}

// StartMasters starts the masters that were stopped, with empty memories: what
// the agents were is all that they find in the registry.
func (c *Cluster) StartMasters() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.masters {
		if s.master != nil {
			continue
		}
		l, err := c.net.Listen("tcp", s.addr)
		if err != nil {
			return fmt.Errorf("restart master: %w", err)
		}
		c.runMaster(s, l)
	}
	return nil
}

// RestartMaster kills the leading master and starts it again.
func (c *Cluster) RestartMaster() error {
	if err := c.StopMaster(); err != nil {
		return err
	}
	return c.StartMasters()
}

// Unreachable cuts a host's Mesos agent off and makes the master give it up at
// once, without the pings. Its tasks run on. Reachable ends it.
func (c *Cluster) Unreachable(host string) {
	n := c.Host(host)
	id := n.Agent.ID()
	n.Agent.Partition(true)
	if m := c.Quorum.Leader(); m != nil {
		m.MarkUnreachable(id)
	}
}

// Reachable lets a host's Mesos agent back to the master.
func (c *Cluster) Reachable(host string) { c.Host(host).Agent.Partition(false) }

// MarkGone says that a host's agent will never return: it is told to end, and
// its tasks with it.
func (c *Cluster) MarkGone(host string) bool {
	m := c.Quorum.Leader()
	return m != nil && m.MarkGone(c.Host(host).Agent.ID())
}
