package mesos

import (
	lib "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// The protobuf decoder: it reads from each message the fields that the wire
// types have, by their numbers in [A] include/mesos/v1/mesos.proto and
// master.proto, and steps over the rest. mesos-go's own decoder builds every
// field of every resource, and can be made to exhaust the stack; its types
// give the names of enums here, and check this decoder in the tests.

func decodeEvent(b []byte) (w wireEvent, err error) {
	bad := 0
	for f := (fields{b: b, bad: &bad}); f.next(); {
		switch f.num {
		case 1:
			w.Type = master.Event_Type(f.int()).String()
		case 2:
			w.Subscribed = &wireSubscribed{}
			for m := f.message(); m.next(); {
				switch m.num {
				case 1:
					w.Subscribed.State = &wireState{}
					w.Subscribed.State.decode(m.message())
				case 2:
					w.Subscribed.HeartbeatInterval = m.double()
				}
			}
		case 3:
			w.TaskAdded = &wireTaskAdded{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.TaskAdded.Task.decode(m.message())
				}
			}
		case 4:
			w.TaskUpdated = &wireTaskUpdated{}
			w.TaskUpdated.decode(f.message())
		case 5:
			w.AgentAdded = &wireAgentAdded{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.AgentAdded.Agent.decode(m.message())
				}
			}
		case 6:
			w.AgentRemoved = &wireAgentRemoved{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.AgentRemoved.AgentID = m.id()
				}
			}
		case 7:
			w.FrameworkAdded = &wireFrameworkChange{}
			w.FrameworkAdded.decode(f.message())
		case 8:
			w.FrameworkUpdated = &wireFrameworkChange{}
			w.FrameworkUpdated.decode(f.message())
		case 9:
			w.FrameworkRemoved = &wireFrameworkRemoved{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.FrameworkRemoved.Info.decode(m.message())
				}
			}
		}
	}
	return w, whole(bad)
}

func decodeResponse(b []byte) (w wireResponse, err error) {
	bad := 0
	for f := (fields{b: b, bad: &bad}); f.next(); {
		switch f.num {
		case 1:
			w.Type = master.Response_Type(f.int()).String()
		case 10:
			w.GetAgents = &wireAgents{}
			w.GetAgents.decode(f.message())
		case 12:
			w.GetExecutors = &wireExecutors{}
			w.GetExecutors.decode(f.message())
		}
	}
	return w, whole(bad)
}

func (w *wireState) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			for m := f.message(); m.next(); {
				switch m.num {
				case 1:
					w.Tasks.Pending = appendTask(w.Tasks.Pending, m.message())
				case 2:
					w.Tasks.Tasks = appendTask(w.Tasks.Tasks, m.message())
				case 3:
					w.Tasks.Completed = appendTask(w.Tasks.Completed, m.message())
				case 4:
					w.Tasks.Orphan = appendTask(w.Tasks.Orphan, m.message())
				case 5:
					w.Tasks.Unreachable = appendTask(w.Tasks.Unreachable, m.message())
				}
			}
		case 2:
			w.Executors.decode(f.message())
		case 3:
			for m := f.message(); m.next(); {
				var fw wireFramework
				switch m.num {
				case 1:
					fw.decode(m.message())
					w.Frameworks.Frameworks = append(w.Frameworks.Frameworks, fw)
				case 2:
					fw.decode(m.message())
					w.Frameworks.Completed = append(w.Frameworks.Completed, fw)
				}
			}
		case 4:
			w.Agents.decode(f.message())
		}
	}
}

func (w *wireAgents) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Agents = append(w.Agents, wireAgent{})
			w.Agents[len(w.Agents)-1].decode(f.message())
		case 2:
			w.Recovered = append(w.Recovered, wireAgentInfo{})
			w.Recovered[len(w.Recovered)-1].decode(f.message())
		}
	}
}

func (w *wireAgent) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Info.decode(f.message())
		case 2:
			w.Active = f.bool()
		case 4:
			w.PID = f.text()
		case 5:
			w.Registered.decode(f.message())
		case 6:
			w.Reregistered.decode(f.message())
		case 7:
			w.Total = appendResource(w.Total, f.message())
		case 8:
			w.Allocated = appendResource(w.Allocated, f.message())
		case 12:
			w.Deactivated = f.bool()
		}
	}
}

func (w *wireTime) decode(f fields) {
	for f.next() {
		if f.num == 1 {
			w.Nanoseconds = f.int()
		}
	}
}

func (w *wireAgentInfo) decode(f fields) {
	w.Port = 5051 // the default of the message; JSON always has it
	for f.next() {
		switch f.num {
		case 1:
			w.Hostname = f.text()
		case 5:
			w.Attributes = append(w.Attributes, wireAttribute{})
			w.Attributes[len(w.Attributes)-1].decode(f.message())
		case 6:
			w.ID = f.id()
		case 8:
			w.Port = int(int32(f.int()))
		}
	}
}

func (w *wireAttribute) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Name = f.text()
		case 3:
			w.Scalar = &wireScalar{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.Scalar.Value = m.double()
				}
			}
		case 4:
			w.Ranges = &wireRanges{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.Ranges.Range = append(w.Ranges.Range, decodeRange(m.message()))
				}
			}
		case 5:
			text := f.id()
			w.Text = &text
		case 6:
			w.Set = &wireSet{}
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.Set.Item = append(w.Set.Item, m.text())
				}
			}
		}
	}
}

func decodeRange(f fields) (r wireRange) {
	for f.next() {
		switch f.num {
		case 1:
			r.Begin = uint64(f.int())
		case 2:
			r.End = uint64(f.int())
		}
	}
	return r
}

func (w *wireFrameworkChange) decode(f fields) {
	for f.next() {
		if f.num == 1 {
			w.Framework.decode(f.message())
		}
	}
}

func (w *wireFramework) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Info.decode(f.message())
		case 2:
			w.Active = f.bool()
		case 3:
			w.Connected = f.bool()
		case 4:
			w.Registered.decode(f.message())
		case 5:
			w.Reregistered.decode(f.message())
		}
	}
}

func (w *wireFrameworkInfo) decode(f fields) {
	for f.next() {
		switch f.num {
		case 2:
			w.Name = f.text()
		case 3:
			w.ID = f.id()
		case 6:
			w.Role = f.text()
		case 8:
			w.Principal = f.text()
		case 12:
			w.Roles = append(w.Roles, f.text())
		}
	}
}

func (w *wireExecutors) decode(f fields) {
	for f.next() {
		if f.num != 1 {
			continue
		}
		w.Executors = append(w.Executors, wireExecutor{})
		x := &w.Executors[len(w.Executors)-1]
		for m := f.message(); m.next(); {
			switch m.num {
			case 1:
				x.decode(m.message())
			case 2:
				x.Agent = m.id()
			}
		}
	}
}

func (w *wireExecutor) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Info.ID = f.id()
		case 5:
			w.Info.Resources = appendResource(w.Info.Resources, f.message())
		case 8:
			w.Info.Framework = f.id()
		case 11:
			w.Info.Container = &wireContainer{}
			w.Info.Container.decode(f.message())
		case 14:
			w.Info.Labels.decode(f.message())
		case 15:
			w.Info.Type = lib.ExecutorInfo_Type(f.int()).String()
		}
	}
}

// taskState is the name of a task's state, or its number if it has none.
func taskState(f *fields) string { return lib.TaskState(f.int()).String() }
