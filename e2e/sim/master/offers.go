package master

import (
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

type offer struct {
	id     string
	seq    int
	fw     *framework
	agent  *agent
	amount Amount
}

// used is what an agent's tasks and executors hold.
func (a *agent) used() Amount {
	var sum Amount
	for _, t := range sortedTasks(a.tasks) {
		if !terminal(*t.State) {
			sum = sum.Plus(AmountOf(t.Resources))
		}
	}
	for _, e := range a.executors {
		sum = sum.Plus(AmountOf(e.Resources))
	}
	return sum
}

func (a *agent) free() Amount {
	left := a.total.Minus(a.used())
	for _, o := range a.offers {
		left = left.Minus(o.amount)
	}
	return left
}

// allocate offers what is free on every agent.
func (m *Master) allocate() {
	for _, a := range m.sortedAgents() {
		m.allocateOn(a)
	}
}

// allocateOn offers what is free on an agent to one of the frameworks that want
// it, in turns.
func (m *Master) allocateOn(a *agent) {
	if !a.active || a.deactivated || m.agents[a.id] != a {
		return
	}
	now := m.now()
	var wanting []*framework
	for _, id := range m.order {
		if f := m.frameworks[id]; f.active && !f.suppressed && !now.Before(f.refused[a.id]) {
			wanting = append(wanting, f)
		}
	}
	if len(wanting) == 0 {
		return
	}
	if free := a.free(); !free.Empty() {
		m.offer(wanting[m.nextOffer%len(wanting)], a, free)
	}
}

func (m *Master) offer(f *framework, a *agent, amount Amount) {
	o := &offer{id: m.id + "-O" + itoa(m.nextOffer), seq: m.nextOffer, fw: f, agent: a, amount: amount}
	m.nextOffer++
	a.offers[o.id], f.offers[o.id] = o, o
	f.send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{m.offerModel(o, "*")}}})
}

// offerModel shows an offer: with the role on each resource to the framework,
// without in GET_STATE.
func (m *Master) offerModel(o *offer, role string) mesos.Offer {
	a := o.agent
	out := mesos.Offer{
		ID: mesos.OfferID{Value: o.id}, FrameworkID: mesos.FrameworkID{Value: o.fw.id},
		AgentID: mesos.AgentID{Value: a.id}, Hostname: a.info.Hostname,
		URL: &mesos.URL{Scheme: "http", Path: ptr("/slave(1)"), Address: mesos.Address{
			Hostname: ptr(a.info.Hostname), IP: ptr(hostOf(a.pid)), Port: a.info.GetPort(),
		}},
		Resources: o.amount.Resources(role, o.fw.role(), true), Attributes: a.info.Attributes,
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: ptr(o.fw.role())},
	}
	for _, e := range slices.Backward(a.executors) {
		if e.FrameworkID.GetValue() == o.fw.id {
			out.ExecutorIDs = append(out.ExecutorIDs, e.ExecutorID)
		}
	}
	return out
}

func (m *Master) drop(o *offer) {
	delete(o.agent.offers, o.id)
	delete(o.fw.offers, o.id)
}

// rescindAll takes offers back.
func (m *Master) rescindAll(offers map[string]*offer) {
	for _, o := range sortedOffers(offers) {
		m.drop(o)
		o.fw.send(&scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: o.id}}})
	}
}

func (m *Master) decline(f *framework, offers []mesos.OfferID, filters *mesos.Filters) {
	for _, id := range offers {
		if o := f.offers[id.Value]; o != nil {
			m.drop(o)
			m.refuse(f, o.agent, filters)
			m.allocateOn(o.agent)
		}
	}
}

// refuse keeps an agent's resources from a framework for a while: 5 s unless
// it says otherwise.
func (m *Master) refuse(f *framework, a *agent, filters *mesos.Filters) {
	seconds := 5.0
	if filters != nil && filters.RefuseSeconds != nil {
		seconds = min(*filters.RefuseSeconds, 365*24*3600)
	}
	if seconds <= 0 {
		return
	}
	d := time.Duration(seconds * float64(time.Second))
	f.refused[a.id] = m.now().Add(d)
	fired, stop := m.cfg.Clock.After(d)
	m.work.Go(func() {
		defer stop()
		select {
		case <-fired:
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.phase == Ready {
				m.allocateOn(a)
			}
		case <-m.stop:
		}
	})
}

func (m *Master) accept(f *framework, c *scheduler.Call_Accept) {
	var a *agent
	var left Amount
	valid := len(c.OfferIDs) > 0
	for _, id := range c.OfferIDs {
		o := f.offers[id.Value]
		if o == nil || a != nil && o.agent != a {
			valid = false
			continue
		}
		a = o.agent
		left = left.Plus(o.amount)
		m.drop(o)
	}
	for _, op := range c.Operations {
		switch {
		case op.Type == mesos.Offer_Operation_LAUNCH && op.Launch != nil:
			for _, t := range op.Launch.TaskInfos {
				if !valid {
					m.reject(f, t, m.lostState(f, mesos.TASK_DROPPED), mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers")
					continue
				}
				left = m.launch(f, a, t, left)
			}
		case op.Type == mesos.Offer_Operation_LAUNCH_GROUP && op.LaunchGroup != nil:
			for _, t := range op.LaunchGroup.TaskGroup.Tasks {
				if !valid {
					m.reject(f, t, m.lostState(f, mesos.TASK_DROPPED), mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers")
				}
			}
			if valid {
				left = m.launchGroup(f, a, op.LaunchGroup, left)
			}
		}
	}
	if a == nil {
		return
	}
	if !left.Empty() {
		m.refuse(f, a, c.Filters)
	}
	m.allocateOn(a)
}

func (m *Master) reject(f *framework, t mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, why string) {
	f.update(mesos.TaskStatus{
		TaskID: t.TaskID, State: &state, Message: &why, Source: mesos.SOURCE_MASTER.Enum(), Reason: &reason,
		AgentID: ptr(t.AgentID), Timestamp: ptr(seconds(m.now())),
	})
}

// launch starts a command task (or one with its own custom executor, of which
// only the record is kept).
func (m *Master) launch(f *framework, a *agent, t mesos.TaskInfo, left Amount) Amount {
	if why := m.invalid(f, a, t, left); why != "" {
		m.reject(f, t, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, why)
		return left
	}
	t.Resources = allocated(t.Resources, f.role())
	m.addTask(a, f, newTask(t, f, t.Executor))
	a.link.RunTasks(f.info, []mesos.TaskInfo{t})
	return left.Minus(AmountOf(t.Resources))
}

func (m *Master) invalid(f *framework, a *agent, t mesos.TaskInfo, left Amount) string {
	switch {
	case t.AgentID.Value != a.id:
		return fmt.Sprintf("Task uses invalid agent %s while agent %s is expected", t.AgentID.Value, a.id)
	case f.tasks[taskKey{f.id, t.TaskID.Value}] != nil:
		return "Task has duplicate ID: " + t.TaskID.Value
	case t.Executor == nil && t.Command == nil:
		return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	case !left.Covers(AmountOf(t.Resources)):
		return fmt.Sprintf("Total resources %v required by task and its executor is more than available %v", AmountOf(t.Resources), left)
	}
	return ""
}

// launchGroup starts the tasks of a pod under one executor, all or none.
func (m *Master) launchGroup(f *framework, a *agent, g *mesos.Offer_Operation_LaunchGroup, left Amount) Amount {
	executor := g.Executor
	if executor.FrameworkID == nil {
		executor.FrameworkID = &mesos.FrameworkID{Value: f.id}
	}
	need := AmountOf(executor.Resources)
	why := ""
	for _, r := range []struct {
		name  string
		value float64
	}{{"cpus", need.Cpus}, {"mem", need.Mem}, {"disk", need.Disk}} {
		if r.value == 0 && why == "" {
			why = fmt.Sprintf("Executor '%s' uses no %s", executor.ExecutorID.Value, r.name)
		}
	}
	for _, t := range g.TaskGroup.Tasks {
		need = need.Plus(AmountOf(t.Resources))
		if f.tasks[taskKey{f.id, t.TaskID.Value}] != nil {
			why = "Task '" + t.TaskID.Value + "' has duplicate ID"
		}
	}
	if why == "" && !left.Covers(need) {
		why = fmt.Sprintf("Total resources %v required by task group and its executor are more than available %v", need, left)
	}
	if why != "" {
		for _, t := range g.TaskGroup.Tasks {
			m.reject(f, t, mesos.TASK_ERROR, mesos.REASON_TASK_GROUP_INVALID, why)
		}
		return left
	}
	executor.Resources = allocated(executor.Resources, f.role())
	launch := !a.hasExecutor(f.id, executor.ExecutorID.Value)
	if launch {
		a.executors = append(a.executors, executor)
	}
	tasks := make([]mesos.TaskInfo, len(g.TaskGroup.Tasks))
	for i, t := range g.TaskGroup.Tasks {
		t.Resources = allocated(t.Resources, f.role())
		tasks[i] = t
		m.addTask(a, f, newTask(t, f, &executor))
	}
	a.link.RunGroup(f.info, executor, launch, tasks)
	return left.Minus(need)
}
