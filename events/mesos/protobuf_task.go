package mesos

import (
	lib "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/events/mirror"
)

// Tasks, and what they are made of; see protobuf.go.

func (w *wireTaskUpdated) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Framework = f.id()
		case 2:
			w.Status.decode(f.message())
		case 3:
			w.State = taskState(&f)
		}
	}
}

func appendTask(ts []wireTask, f fields) []wireTask {
	ts = append(ts, wireTask{})
	ts[len(ts)-1].decode(f)
	return ts
}

func (w *wireTask) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Name = f.text()
		case 2:
			w.ID = f.id()
		case 3:
			w.Framework = f.id()
		case 4:
			id := f.id()
			w.Executor = &id
		case 5:
			w.Agent = f.id()
		case 6:
			w.State = taskState(&f)
		case 7:
			w.Resources = appendResource(w.Resources, f.message())
		case 8:
			w.Statuses = append(w.Statuses, wireStatus{})
			w.Statuses[len(w.Statuses)-1].decode(f.message())
		case 11:
			w.Labels.decode(f.message())
		case 12:
			w.decodeDiscovery(f.message())
		case 13:
			w.Container = &wireContainer{}
			w.Container.decode(f.message())
		}
	}
}

func appendResource(rs []wireResource, f fields) []wireResource {
	var w wireResource
	for f.next() {
		switch f.num {
		case 1:
			w.Name = f.text()
		case 3:
			for m := f.message(); m.next(); {
				if m.num == 1 {
					w.Scalar.Value = m.double()
				}
			}
		case 6:
			w.Role = f.text()
		case 11:
			w.Allocation.Role = f.id().Value // a message with one text, like an id
		}
	}
	return append(rs, w)
}

func (w *wireTask) decodeDiscovery(f fields) {
	for f.next() {
		if f.num != 6 {
			continue
		}
		for m := f.message(); m.next(); {
			if m.num == 1 {
				ports := &w.Discovery.Ports.Ports
				*ports = append(*ports, wirePort{})
				(*ports)[len(*ports)-1].decode(m.message())
			}
		}
	}
}

func (w *wirePort) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Number = f.uint32()
		case 2:
			w.Name = f.text()
		case 3:
			w.Protocol = f.text()
		case 5:
			w.Labels.decode(f.message())
		}
	}
}

func (w *wireStatus) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.TaskID = f.id()
		case 2:
			w.State = taskState(&f)
		case 4:
			w.Message = f.text()
		case 5:
			w.AgentID = f.id()
		case 6:
			w.Timestamp = f.double()
		case 8:
			healthy := f.bool()
			w.Healthy = &healthy
		case 10:
			w.Reason = lib.TaskStatus_Reason(f.int()).String()
		case 13:
			for m := f.message(); m.next(); {
				switch m.num {
				case 1:
					w.Container.Networks = appendNetwork(w.Container.Networks, m.message())
				case 4:
					w.Container.ID = decodeContainerID(m.message())
				}
			}
		}
	}
}

// decodeContainerID goes down the chain of parents, as far as one is believed.
func decodeContainerID(f fields) *wireContainerID {
	var top *wireContainerID
	at := &top
	for depth := 0; depth < maxNesting; depth++ {
		*at = &wireContainerID{}
		var parent *fields
		for f.next() {
			switch f.num {
			case 1:
				(*at).Value = f.text()
			case 2:
				p := f.message()
				parent = &p
			}
		}
		if parent == nil {
			return top
		}
		f, at = *parent, &(*at).Parent
	}
	*f.bad++
	return top
}

func (w *wireContainer) decode(f fields) {
	for f.next() {
		switch f.num {
		case 1:
			w.Type = lib.ContainerInfo_Type(f.int()).String()
		case 3:
			for m := f.message(); m.next(); {
				if m.num == 3 {
					w.Docker.PortMappings = append(w.Docker.PortMappings, decodePortMapping(m.message()))
				}
			}
		case 7:
			w.Networks = appendNetwork(w.Networks, f.message())
		}
	}
}

func appendNetwork(ns []wireNetwork, f fields) []wireNetwork {
	var w wireNetwork
	for f.next() {
		switch f.num {
		case 4:
			w.Labels.decode(f.message())
		case 5:
			var a wireAddress
			for m := f.message(); m.next(); {
				if m.num == 2 {
					a.Address = m.text()
				}
			}
			w.Addresses = append(w.Addresses, a)
		case 6:
			w.Name = f.text()
		case 7:
			w.PortMappings = append(w.PortMappings, decodePortMapping(f.message()))
		}
	}
	return append(ns, w)
}

func decodePortMapping(f fields) (w wirePortMapping) {
	for f.next() {
		switch f.num {
		case 1:
			w.Host = f.uint32()
		case 2:
			w.Container = f.uint32()
		case 3:
			w.Protocol = f.text()
		}
	}
	return w
}

func (w *wireLabels) decode(f fields) {
	for f.next() {
		if f.num != 1 {
			continue
		}
		var l mirror.Label
		for m := f.message(); m.next(); {
			switch m.num {
			case 1:
				l.Key = m.text()
			case 2:
				l.Value = m.text()
			}
		}
		w.Labels = append(w.Labels, l)
	}
}
