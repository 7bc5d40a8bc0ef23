package mesos

import (
	"math/rand/v2"

	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// generator makes random events of mesos-go's types, with and without their
// optional fields, and with values that we do not know.
type generator struct{ *rand.Rand }

func (g generator) some() bool { return g.IntN(2) == 0 }

func (g generator) text() string {
	return []string{"", "a", "taskwall", "schlüssel", "x\x00y", "10.0.0.1", "slave(1)@10.0.0.1:5051"}[g.IntN(7)]
}

func opt[T any](g generator, v T) *T {
	if g.some() {
		return nil
	}
	return &v
}

func list[T any](g generator, f func() T) (l []T) {
	for range g.IntN(4) {
		l = append(l, f())
	}
	return l
}

func (g generator) event() *master.Event {
	e := &master.Event{Type: master.Event_Type(g.IntN(12))}
	switch g.IntN(8) {
	case 0:
		e.Subscribed = &master.Event_Subscribed{HeartbeatIntervalSeconds: opt(g, g.Float64()*20), GetState: g.state()}
	case 1:
		e.TaskAdded = &master.Event_TaskAdded{Task: g.task()}
	case 2:
		e.TaskUpdated = &master.Event_TaskUpdated{FrameworkID: lib.FrameworkID{Value: g.text()}, Status: g.status(), State: lib.TaskState(g.IntN(30)).Enum()}
	case 3:
		e.AgentAdded = &master.Event_AgentAdded{Agent: g.agent()}
	case 4:
		e.AgentRemoved = &master.Event_AgentRemoved{AgentID: lib.AgentID{Value: g.text()}}
	case 5:
		e.FrameworkAdded = &master.Event_FrameworkAdded{Framework: g.framework()}
	case 6:
		e.FrameworkUpdated = &master.Event_FrameworkUpdated{Framework: g.framework()}
	case 7:
		e.FrameworkRemoved = &master.Event_FrameworkRemoved{FrameworkInfo: g.frameworkInfo()}
	}
	return e
}

func (g generator) state() *master.Response_GetState {
	return &master.Response_GetState{
		GetTasks: opt(g, master.Response_GetTasks{
			PendingTasks: list(g, g.task), Tasks: list(g, g.task), UnreachableTasks: list(g, g.task),
			CompletedTasks: list(g, g.task), OrphanTasks: list(g, g.task),
		}),
		GetExecutors: opt(g, master.Response_GetExecutors{Executors: list(g, func() master.Response_GetExecutors_Executor {
			return master.Response_GetExecutors_Executor{ExecutorInfo: lib.ExecutorInfo{
				ExecutorID: lib.ExecutorID{Value: g.text()}, FrameworkID: opt(g, lib.FrameworkID{Value: g.text()}),
				Container: g.container(), Labels: g.labels(), Data: []byte(g.text()), Name: opt(g, g.text()),
				Command: opt(g, lib.CommandInfo{Value: opt(g, g.text())}),
			}}
		})}),
		GetFrameworks: opt(g, master.Response_GetFrameworks{Frameworks: list(g, g.framework), CompletedFrameworks: list(g, g.framework)}),
		GetAgents:     opt(g, master.Response_GetAgents{Agents: list(g, g.agent), RecoveredAgents: list(g, g.agentInfo)}),
	}
}

func (g generator) task() lib.Task {
	return lib.Task{
		Name: g.text(), TaskID: lib.TaskID{Value: g.text()}, FrameworkID: lib.FrameworkID{Value: g.text()},
		ExecutorID: opt(g, lib.ExecutorID{Value: g.text()}), AgentID: lib.AgentID{Value: g.text()},
		State: lib.TaskState(g.IntN(30)).Enum(), Statuses: list(g, g.status), Labels: g.labels(), Container: g.container(),
		Resources: list(g, func() lib.Resource {
			return lib.Resource{
				Name: g.text(), Type: lib.SCALAR.Enum(), Scalar: &lib.Value_Scalar{Value: g.Float64()},
				Role: opt(g, g.text()), AllocationInfo: opt(g, lib.Resource_AllocationInfo{Role: opt(g, g.text())}),
			}
		}),
		Discovery: opt(g, lib.DiscoveryInfo{Name: opt(g, g.text()), Ports: opt(g, lib.Ports{Ports: list(g, func() lib.Port {
			return lib.Port{Number: g.Uint32(), Name: opt(g, g.text()), Protocol: opt(g, g.text()), Labels: g.labels()}
		})})}),
	}
}

func (g generator) status() lib.TaskStatus {
	s := lib.TaskStatus{
		TaskID: lib.TaskID{Value: g.text()}, State: lib.TaskState(g.IntN(30)).Enum(), Message: opt(g, g.text()),
		Data: []byte(g.text()), AgentID: opt(g, lib.AgentID{Value: g.text()}), Timestamp: opt(g, g.Float64()*1e9),
		Healthy: opt(g, g.some()), UUID: []byte(g.text()), Labels: g.labels(),
		Reason: opt(g, lib.TaskStatus_Reason(g.IntN(60))), Source: opt(g, lib.SOURCE_AGENT),
	}
	if g.some() {
		s.ContainerStatus = &lib.ContainerStatus{NetworkInfos: list(g, g.network), ContainerID: opt(g, lib.ContainerID{
			Value: g.text(), Parent: opt(g, lib.ContainerID{Value: g.text(), Parent: opt(g, lib.ContainerID{Value: g.text()})}),
		})}
	}
	return s
}

func (g generator) container() *lib.ContainerInfo {
	return opt(g, lib.ContainerInfo{
		Type: lib.ContainerInfo_Type(g.IntN(4)).Enum(), NetworkInfos: list(g, g.network), Hostname: opt(g, g.text()),
		Docker: opt(g, lib.ContainerInfo_DockerInfo{Image: g.text(), PortMappings: list(g, func() lib.ContainerInfo_DockerInfo_PortMapping {
			return lib.ContainerInfo_DockerInfo_PortMapping{HostPort: g.Uint32(), ContainerPort: g.Uint32(), Protocol: opt(g, g.text())}
		})}),
	})
}

func (g generator) network() lib.NetworkInfo {
	return lib.NetworkInfo{
		Name: opt(g, g.text()), Labels: g.labels(), Groups: list(g, g.text),
		IPAddresses: list(g, func() lib.NetworkInfo_IPAddress { return lib.NetworkInfo_IPAddress{IPAddress: opt(g, g.text())} }),
		PortMappings: list(g, func() lib.NetworkInfo_PortMapping {
			return lib.NetworkInfo_PortMapping{HostPort: g.Uint32(), ContainerPort: g.Uint32(), Protocol: opt(g, g.text())}
		}),
	}
}

func (g generator) labels() *lib.Labels {
	return opt(g, lib.Labels{Labels: list(g, func() lib.Label { return lib.Label{Key: g.text(), Value: opt(g, g.text())} })})
}

func (g generator) time() *lib.TimeInfo { return opt(g, lib.TimeInfo{Nanoseconds: g.Int64()}) }

func (g generator) agent() master.Response_GetAgents_Agent {
	return master.Response_GetAgents_Agent{
		AgentInfo: g.agentInfo(), Active: g.some(), Deactivated: opt(g, g.some()), Version: g.text(), PID: opt(g, g.text()),
		RegisteredTime: g.time(), ReregisteredTime: g.time(),
	}
}

func (g generator) agentInfo() lib.AgentInfo {
	return lib.AgentInfo{
		Hostname: g.text(), Port: opt(g, g.Int32()), ID: opt(g, lib.AgentID{Value: g.text()}),
		Attributes: list(g, func() lib.Attribute {
			a := lib.Attribute{Name: g.text()}
			switch g.IntN(5) {
			case 0:
				a.Text = &lib.Value_Text{Value: g.text()}
			case 1:
				a.Scalar = &lib.Value_Scalar{Value: g.Float64()}
			case 2:
				a.Ranges = &lib.Value_Ranges{Range: list(g, func() lib.Value_Range { return lib.Value_Range{Begin: g.Uint64(), End: g.Uint64()} })}
			case 3:
				a.Set = &lib.Value_Set{Item: list(g, g.text)}
			}
			return a
		}),
	}
}

func (g generator) framework() master.Response_GetFrameworks_Framework {
	return master.Response_GetFrameworks_Framework{
		FrameworkInfo: g.frameworkInfo(), Active: g.some(), Connected: g.some(), Recovered: g.some(),
		RegisteredTime: g.time(), ReregisteredTime: g.time(),
	}
}

func (g generator) frameworkInfo() lib.FrameworkInfo {
	return lib.FrameworkInfo{
		User: g.text(), Name: g.text(), ID: opt(g, lib.FrameworkID{Value: g.text()}), Role: opt(g, g.text()),
		Roles: list(g, g.text), Principal: opt(g, g.text()), Labels: g.labels(),
	}
}
