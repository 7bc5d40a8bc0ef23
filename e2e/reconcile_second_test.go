package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// second is a framework beside Marathon that runs tasks with ids as Mesos allows
// them, such as one that a task of Marathon has, and that is torn down with them.
type second struct {
	h    *history
	wake chan struct{}

	mu       sync.Mutex
	id       string
	master   *master.Master // at which it is subscribed
	wanted   []string       // ids of tasks to launch
	events   []*scheduler.Event
	used     map[string]bool // ids of others that it has taken
	tornDown map[string]bool // former ids
	n        int
}

// oddIDs are beginnings of what Mesos takes for a task's id: anything up to 255
// bytes without a slash, a backslash or a control character.
var oddIDs = []string{"plain", "with space", `"quoted'`, "100%s", "*.>", "ünï-日本", "a:b;c|d&e", "$(reboot)", "-dash", "..", "_5f", strings.Repeat("l", 200)}

func newSecond(h *history) *second {
	return &second{h: h, wake: make(chan struct{}, 1), used: map[string]bool{}, tornDown: map[string]bool{}}
}

func (s *second) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run keeps it subscribed at the leading master until ctx ends.
func (s *second) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.subscribe()
		for _, e := range s.take() {
			s.event(e)
		}
	}
}

func (s *second) take() []*scheduler.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.events
	s.events = nil
	return taken
}

// launch has it run one task more, if it can, under an odd id, or under that of
// another framework's task.
func (s *second) launch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	id := fmt.Sprint(oddIDs[s.h.rng.IntN(len(oddIDs))], s.n)
	others := slices.DeleteFunc(s.h.c.Tasks(), func(t sim.Task) bool { return t.Name == "odd" })
	if len(others) > 0 && s.h.rng.IntN(3) == 0 {
		if other := others[s.h.rng.IntN(len(others))].ID; !s.used[other] { // no id twice, as Mesos asks
			id, s.used[other] = other, true
		}
	}
	s.wanted = append(s.wanted, id)
	s.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
	s.poke()
}

// teardown ends it and all that it runs; where agents are away, when they return.
// The next launch is of a new framework.
func (s *second) teardown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == "" || s.master == nil || s.master != s.h.c.Master() {
		return
	}
	s.tornDown[s.id] = true // before the fold can be told
	if s.master.Teardown(s.id) != nil {
		delete(s.tornDown, s.id)
		return
	}
	s.id, s.master, s.wanted, s.events = "", nil, nil, nil
}

// ended tells whether a framework was torn down. Its tasks count as dead: an
// agent that is away may let them run on.
func (s *second) ended(framework string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tornDown[framework]
}

func (s *second) subscribe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	leader := s.h.c.Master()
	if leader == s.master || leader == nil || s.id == "" && len(s.wanted) == 0 {
		return
	}
	info := mesos.FrameworkInfo{User: "root", Name: "second", FailoverTimeout: ptr(3600.0), Roles: []string{"*"},
		Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}, {Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}}}
	if s.id != "" {
		info.ID = &mesos.FrameworkID{Value: s.id}
	}
	id, _, err := leader.Subscribe(info, nil, func(e *scheduler.Event) {
		// The master's lock is held, and it may be held by who waits for ours.
		go func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.master == leader {
				s.events = append(s.events, e)
				s.poke()
			}
		}()
	})
	if err == nil {
		s.id, s.master = id, leader
	}
}

// event launches what is wanted with offers, and acknowledges updates.
func (s *second) event(e *scheduler.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.master == nil {
		return
	}
	switch {
	case e.Offers != nil:
		for _, o := range e.Offers.Offers {
			if len(s.wanted) == 0 {
				s.call(&scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &scheduler.Call_Decline{OfferIDs: []mesos.OfferID{o.ID}, Filters: &mesos.Filters{RefuseSeconds: ptr(3600.0)}}})
				continue
			}
			task := mesos.TaskInfo{Name: "odd", TaskID: mesos.TaskID{Value: s.wanted[0]}, AgentID: o.AgentID, Command: &mesos.CommandInfo{Value: ptr("x")},
				Resources: []mesos.Resource{
					{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 0.1}},
					{Name: "mem", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 16}},
				},
				Container: &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []mesos.NetworkInfo{{Name: ptr("taskwall"), IPAddresses: []mesos.NetworkInfo_IPAddress{{}}}}},
				Labels:    &mesos.Labels{Labels: []mesos.Label{{Key: "odd", Value: ptr(s.wanted[0])}}},
			}
			s.wanted = s.wanted[1:]
			s.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{OfferIDs: []mesos.OfferID{o.ID}, Filters: &mesos.Filters{RefuseSeconds: ptr(3600.0)},
				Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{task}}}}}})
		}
	case e.Update != nil && len(e.Update.Status.UUID) > 0:
		st := e.Update.Status
		s.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{AgentID: *st.AgentID, TaskID: st.TaskID, UUID: st.UUID}})
	}
}

// call makes a call to the master. What fails is made good by the next master,
// or by the repetition of an update. The lock is held.
func (s *second) call(c *scheduler.Call) {
	if s.master == nil {
		return
	}
	c.FrameworkID = &mesos.FrameworkID{Value: s.id}
	_ = s.master.Call(c)
}

func ptr[T any](v T) *T { return &v }
