package master

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// printer adds what a 1.12 master prints in answers to GET calls and in
// SUBSCRIBED but mesos-go's schema lacks.
var printer = wire.Printer{Extra: func(m any) string {
	switch m.(type) {
	case *mesos.AgentInfo:
		return `"checkpoint":true`
	case *master.Response_GetFrameworks_Framework:
		return `"offer_constraints":{}`
	}
	return ""
}}

// stateModel is GET_STATE. The protobuf answer lacks the tasks of completed
// frameworks, a bug of Mesos that the recordings show.
func (m *Master) stateModel(json bool) *master.Response_GetState {
	return &master.Response_GetState{
		GetTasks:      m.tasksModel(json),
		GetExecutors:  m.executorsModel(),
		GetFrameworks: m.frameworksModel(),
		GetAgents:     m.agentsModel(),
	}
}

func (m *Master) tasksModel(json bool) *master.Response_GetTasks {
	out := &master.Response_GetTasks{}
	frameworks := m.sortedFrameworks()
	if json {
		frameworks = append(slices.Clone(m.completed), frameworks...)
	}
	for _, f := range frameworks {
		for _, t := range sortedTasks(f.tasks) {
			out.Tasks = append(out.Tasks, t.Task)
		}
		for _, t := range f.unreachable {
			out.UnreachableTasks = append(out.UnreachableTasks, t.Task)
		}
		for _, t := range f.completed {
			out.CompletedTasks = append(out.CompletedTasks, t.Task)
		}
	}
	return out
}

func (m *Master) executorsModel() *master.Response_GetExecutors {
	out := &master.Response_GetExecutors{}
	for _, a := range m.sortedAgents() {
		for _, e := range a.executors {
			out.Executors = append(out.Executors, master.Response_GetExecutors_Executor{ExecutorInfo: e, AgentID: mesos.AgentID{Value: a.id}})
		}
	}
	return out
}

func (m *Master) frameworksModel() *master.Response_GetFrameworks {
	out := &master.Response_GetFrameworks{}
	for _, f := range m.sortedFrameworks() {
		model := f.model()
		model.AllocatedResources = resourcesOf(m.allocated(f))
		var offered []Amount
		for _, o := range sortedOffers(f.offers) {
			model.Offers = append(model.Offers, m.offerModel(o, ""))
			offered = append(offered, o.amount)
		}
		for _, o := range offered {
			model.OfferedResources = append(model.OfferedResources, o.Resources("*", f.role(), true)...)
		}
		out.Frameworks = append(out.Frameworks, model)
	}
	for _, f := range m.completed {
		out.CompletedFrameworks = append(out.CompletedFrameworks, f.model())
	}
	return out
}

// allocated is what a framework's tasks and executors hold.
func (m *Master) allocated(f *framework) map[string]Amount {
	var sum Amount
	for _, t := range f.tasks {
		if !terminal(*t.State) {
			sum = sum.Plus(AmountOf(t.Resources))
		}
	}
	for _, a := range m.agents {
		for _, e := range a.executors {
			if e.FrameworkID.GetValue() == f.id {
				sum = sum.Plus(AmountOf(e.Resources))
			}
		}
	}
	return map[string]Amount{f.role(): sum}
}

func resourcesOf(byRole map[string]Amount) []mesos.Resource {
	roles := make([]string, 0, len(byRole))
	for r := range byRole {
		roles = append(roles, r)
	}
	slices.Sort(roles)
	var out []mesos.Resource
	for _, r := range roles {
		out = append(out, byRole[r].Resources("*", r, false)...)
	}
	return out
}

// model shows a framework in a GET call; eventModel in an event, where unset
// times are zeros.
func (f *framework) model() master.Response_GetFrameworks_Framework {
	out := master.Response_GetFrameworks_Framework{
		FrameworkInfo: f.info, Active: f.active, Connected: f.connected, Recovered: f.recovered,
	}
	if !f.registered.IsZero() {
		out.RegisteredTime, out.ReregisteredTime = timeInfo(f.registered), timeInfo(f.reregistered)
	}
	if !f.unregistered.IsZero() {
		out.UnregisteredTime = timeInfo(f.unregistered)
	}
	return out
}

func (f *framework) eventModel() master.Response_GetFrameworks_Framework {
	out := f.model()
	out.RegisteredTime, out.ReregisteredTime = timeInfo(f.registered), timeInfo(f.reregistered)
	out.UnregisteredTime = timeInfo(f.unregistered)
	return out
}

func (m *Master) agentsModel() *master.Response_GetAgents {
	out := &master.Response_GetAgents{}
	for _, a := range m.sortedAgents() {
		out.Agents = append(out.Agents, m.agentModel(a))
	}
	out.RecoveredAgents = m.cfg.Quorum.recovered(func(id string) bool { return m.agents[id] != nil })
	return out
}

func (m *Master) agentModel(a *agent) master.Response_GetAgents_Agent {
	out := master.Response_GetAgents_Agent{
		AgentInfo: a.info, Active: a.active, Deactivated: ptr(a.deactivated), Version: a.version, PID: &a.pid,
		RegisteredTime: timeInfo(a.registered),
		TotalResources: a.total.Resources("*", "", false),
		Capabilities:   capabilities,
	}
	if !a.reregistered.IsZero() {
		out.ReregisteredTime = timeInfo(a.reregistered)
	}
	used := map[string]Amount{}
	for _, t := range sortedTasks(a.tasks) {
		if !terminal(*t.State) {
			used[t.fw.role()] = used[t.fw.role()].Plus(AmountOf(t.Resources))
		}
	}
	for _, e := range a.executors {
		if f := m.frameworks[e.FrameworkID.GetValue()]; f != nil {
			used[f.role()] = used[f.role()].Plus(AmountOf(e.Resources))
		}
	}
	out.AllocatedResources = resourcesOf(used)
	for _, o := range sortedOffers(a.offers) {
		out.OfferedResources = append(out.OfferedResources, o.amount.Resources("*", o.fw.role(), true)...)
	}
	return out
}
