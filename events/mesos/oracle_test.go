package mesos

import (
	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events/mirror"
)

// The oracle of the protobuf decoder: mesos-go's decoder, and a conversion of
// its types to the wire types, field by field.

func fromEvent(e *master.Event) wireEvent {
	w := wireEvent{Type: e.Type.String()}
	if s := e.Subscribed; s != nil {
		w.Subscribed = &wireSubscribed{State: fromState(s.GetState), HeartbeatInterval: s.GetHeartbeatIntervalSeconds()}
	}
	if t := e.TaskAdded; t != nil {
		w.TaskAdded = &wireTaskAdded{Task: fromTask(&t.Task)}
	}
	if t := e.TaskUpdated; t != nil {
		w.TaskUpdated = &wireTaskUpdated{
			Framework: value{t.FrameworkID.Value},
			Status:    fromStatus(&t.Status),
			State:     state(t.State),
		}
	}
	if f := e.FrameworkAdded; f != nil {
		w.FrameworkAdded = &wireFrameworkChange{Framework: fromFramework(&f.Framework)}
	}
	if f := e.FrameworkUpdated; f != nil {
		w.FrameworkUpdated = &wireFrameworkChange{Framework: fromFramework(&f.Framework)}
	}
	if f := e.FrameworkRemoved; f != nil {
		w.FrameworkRemoved = &wireFrameworkRemoved{Info: fromFrameworkInfo(&f.FrameworkInfo)}
	}
	if a := e.AgentAdded; a != nil {
		w.AgentAdded = &wireAgentAdded{Agent: fromAgent(&a.Agent)}
	}
	if a := e.AgentRemoved; a != nil {
		w.AgentRemoved = &wireAgentRemoved{AgentID: value{a.AgentID.Value}}
	}
	return w
}

func fromState(s *master.Response_GetState) *wireState {
	if s == nil {
		return nil
	}
	var w wireState
	if t := s.GetTasks; t != nil {
		w.Tasks.Pending = fromTasks(t.PendingTasks)
		w.Tasks.Tasks = fromTasks(t.Tasks)
		w.Tasks.Orphan = fromTasks(t.OrphanTasks)
		w.Tasks.Unreachable = fromTasks(t.UnreachableTasks)
		w.Tasks.Completed = fromTasks(t.CompletedTasks)
	}
	if x := s.GetExecutors; x != nil {
		w.Executors = fromExecutors(x)
	}
	if f := s.GetFrameworks; f != nil {
		for i := range f.Frameworks {
			w.Frameworks.Frameworks = append(w.Frameworks.Frameworks, fromFramework(&f.Frameworks[i]))
		}
		for i := range f.CompletedFrameworks {
			w.Frameworks.Completed = append(w.Frameworks.Completed, fromFramework(&f.CompletedFrameworks[i]))
		}
	}
	if a := s.GetAgents; a != nil {
		w.Agents = fromAgents(a)
	}
	return &w
}

func fromAgents(a *master.Response_GetAgents) (w wireAgents) {
	for i := range a.Agents {
		w.Agents = append(w.Agents, fromAgent(&a.Agents[i]))
	}
	for i := range a.RecoveredAgents {
		w.Recovered = append(w.Recovered, fromAgentInfo(&a.RecoveredAgents[i]))
	}
	return w
}

func fromAgent(a *master.Response_GetAgents_Agent) wireAgent {
	return wireAgent{
		Info:         fromAgentInfo(&a.AgentInfo),
		Active:       a.Active,
		Deactivated:  a.GetDeactivated(),
		PID:          a.GetPID(),
		Total:        fromResources(a.TotalResources),
		Allocated:    fromResources(a.AllocatedResources),
		Registered:   wireTime{a.GetRegisteredTime().GetNanoseconds()},
		Reregistered: wireTime{a.GetReregisteredTime().GetNanoseconds()},
	}
}

func fromAgentInfo(a *lib.AgentInfo) wireAgentInfo {
	w := wireAgentInfo{Hostname: a.Hostname, Port: int(a.GetPort())}
	if a.ID != nil {
		w.ID.Value = a.ID.Value
	}
	for i := range a.Attributes {
		w.Attributes = append(w.Attributes, fromAttribute(&a.Attributes[i]))
	}
	return w
}

func fromAttribute(a *lib.Attribute) wireAttribute {
	w := wireAttribute{Name: a.Name}
	switch {
	case a.Text != nil:
		w.Text = &value{a.Text.Value}
	case a.Scalar != nil:
		w.Scalar = &wireScalar{a.Scalar.Value}
	case a.Ranges != nil:
		w.Ranges = &wireRanges{}
		for _, r := range a.Ranges.Range {
			w.Ranges.Range = append(w.Ranges.Range, wireRange{r.Begin, r.End})
		}
	case a.Set != nil:
		w.Set = &wireSet{a.Set.Item}
	}
	return w
}

func fromFramework(f *master.Response_GetFrameworks_Framework) wireFramework {
	return wireFramework{
		Info:         fromFrameworkInfo(&f.FrameworkInfo),
		Active:       f.Active,
		Connected:    f.Connected,
		Registered:   wireTime{f.GetRegisteredTime().GetNanoseconds()},
		Reregistered: wireTime{f.GetReregisteredTime().GetNanoseconds()},
	}
}

func fromFrameworkInfo(f *lib.FrameworkInfo) wireFrameworkInfo {
	w := wireFrameworkInfo{Name: f.Name, Principal: f.GetPrincipal(), Roles: f.Roles}
	if f.Role != nil {
		w.Role = *f.Role
	}
	if f.ID != nil {
		w.ID.Value = f.ID.Value
	}
	return w
}

func fromExecutors(x *master.Response_GetExecutors) (w wireExecutors) {
	for i := range x.Executors {
		info := &x.Executors[i].ExecutorInfo
		var e wireExecutor
		e.Agent.Value = x.Executors[i].AgentID.Value
		e.Info.ID.Value = info.ExecutorID.Value
		if info.FrameworkID != nil {
			e.Info.Framework.Value = info.FrameworkID.Value
		}
		e.Info.Type = info.Type.String()
		e.Info.Resources = fromResources(info.Resources)
		e.Info.Labels = fromLabels(info.Labels)
		e.Info.Container = fromContainer(info.Container)
		w.Executors = append(w.Executors, e)
	}
	return w
}

func fromResources(rs []lib.Resource) (w []wireResource) {
	for i := range rs {
		r := wireResource{Name: rs[i].Name}
		if s := rs[i].Scalar; s != nil {
			r.Scalar.Value = s.Value
		}
		if role := rs[i].Role; role != nil {
			r.Role = *role
		}
		if a := rs[i].AllocationInfo; a != nil && a.Role != nil {
			r.Allocation.Role = *a.Role
		}
		w = append(w, r)
	}
	return w
}

func fromTasks(ts []lib.Task) []wireTask {
	var w []wireTask
	for i := range ts {
		w = append(w, fromTask(&ts[i]))
	}
	return w
}

func fromTask(t *lib.Task) wireTask {
	w := wireTask{
		Name:      t.Name,
		ID:        value{t.TaskID.Value},
		Framework: value{t.FrameworkID.Value},
		Agent:     value{t.AgentID.Value},
		State:     state(t.State),
		Labels:    fromLabels(t.Labels),
		Container: fromContainer(t.Container),
	}
	if t.ExecutorID != nil {
		w.Executor = &value{t.ExecutorID.Value}
	}
	w.Resources = fromResources(t.Resources)
	for i := range t.Statuses {
		w.Statuses = append(w.Statuses, fromStatus(&t.Statuses[i]))
	}
	if t.Discovery != nil && t.Discovery.Ports != nil {
		for i := range t.Discovery.Ports.Ports {
			p := &t.Discovery.Ports.Ports[i]
			w.Discovery.Ports.Ports = append(w.Discovery.Ports.Ports, wirePort{
				Number: p.Number, Name: p.GetName(), Protocol: p.GetProtocol(), Labels: fromLabels(p.Labels),
			})
		}
	}
	return w
}

func fromStatus(s *lib.TaskStatus) wireStatus {
	w := wireStatus{
		TaskID:    value{s.TaskID.Value},
		State:     state(s.State),
		Message:   s.GetMessage(),
		Timestamp: s.GetTimestamp(),
		Healthy:   s.Healthy,
	}
	if s.Reason != nil {
		w.Reason = s.Reason.String()
	}
	if s.AgentID != nil {
		w.AgentID.Value = s.AgentID.Value
	}
	if c := s.ContainerStatus; c != nil {
		w.Container.ID = fromContainerID(c.ContainerID)
		w.Container.Networks = fromNetworks(c.NetworkInfos)
	}
	return w
}

func fromContainerID(id *lib.ContainerID) *wireContainerID {
	var top *wireContainerID
	for at := &top; id != nil; id = id.Parent {
		*at = &wireContainerID{Value: id.Value}
		at = &(*at).Parent
	}
	return top
}

func fromContainer(c *lib.ContainerInfo) *wireContainer {
	if c == nil {
		return nil
	}
	w := &wireContainer{Networks: fromNetworks(c.NetworkInfos)}
	if c.Type != nil {
		w.Type = c.Type.String()
	}
	if c.Docker != nil {
		for _, p := range c.Docker.PortMappings {
			w.Docker.PortMappings = append(w.Docker.PortMappings, wirePortMapping{p.HostPort, p.ContainerPort, p.GetProtocol()})
		}
	}
	return w
}

func fromNetworks(ns []lib.NetworkInfo) []wireNetwork {
	var w []wireNetwork
	for i := range ns {
		n := &ns[i]
		wn := wireNetwork{Name: n.GetName(), Labels: fromLabels(n.Labels)}
		for _, p := range n.PortMappings {
			wn.PortMappings = append(wn.PortMappings, wirePortMapping{p.HostPort, p.ContainerPort, p.GetProtocol()})
		}
		for _, a := range n.IPAddresses {
			wn.Addresses = append(wn.Addresses, wireAddress{a.GetIPAddress()})
		}
		w = append(w, wn)
	}
	return w
}

func fromLabels(l *lib.Labels) (w wireLabels) {
	if l != nil {
		for i := range l.Labels {
			w.Labels = append(w.Labels, mirror.Label{Key: l.Labels[i].Key, Value: l.Labels[i].GetValue()})
		}
	}
	return w
}

func state(s *lib.TaskState) string {
	if s == nil {
		return ""
	}
	return s.String()
}
