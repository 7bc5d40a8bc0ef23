package mesosagent

import (
	"cmp"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// status is what a new TaskStatus says besides its state.
type status struct {
	source  mesos.TaskStatus_Source
	reason  *mesos.TaskStatus_Reason
	message string
	healthy *bool
	data    []byte
	bare    bool // no container_status: there is no executor
}

// report sends a status update for a task. The channel is closed when a
// terminal one is acknowledged.
func (a *Agent) report(t *taskRun, state mesos.TaskState, s status) <-chan struct{} {
	a.mu.Lock()
	if t.done() {
		a.mu.Unlock()
		acked := make(chan struct{})
		close(acked)
		return acked
	}
	source := s.source
	out := mesos.TaskStatus{
		TaskID: t.info.TaskID, State: state.Enum(), Source: &source, Reason: s.reason,
		AgentID: &mesos.AgentID{Value: a.id}, ExecutorID: &mesos.ExecutorID{Value: cmp.Or(t.executorID, t.id)},
		Timestamp: ptr(float64(a.now().UnixMicro()) / 1e6), UUID: a.cfg.IDs.Bytes(), Healthy: s.healthy, Data: s.data,
	}
	if s.message != "" {
		out.Message = &s.message
	}
	if !s.bare {
		out.ContainerStatus = a.containerStatus(t.container, state)
	}
	t.state = state
	if n := len(t.statuses); n > 0 && *t.statuses[n-1].State == state {
		t.statuses = t.statuses[:n-1]
	}
	kept := out
	kept.Data = nil
	t.statuses = append(t.statuses, kept)
	a.mu.Unlock()
	return a.updates.add(t.framework, out)
}

// drop tells the master that a task is not here and never will be.
func (a *Agent) drop(fw mesos.FrameworkInfo, task mesos.TaskID, executor mesos.ExecutorID, reason mesos.TaskStatus_Reason, why string) {
	state := mesos.TASK_LOST
	for _, c := range fw.Capabilities {
		if c.Type == mesos.FrameworkInfo_Capability_PARTITION_AWARE {
			state = mesos.TASK_DROPPED
		}
	}
	a.mu.Lock()
	s := mesos.TaskStatus{
		TaskID: task, State: &state, Source: mesos.SOURCE_AGENT.Enum(), Reason: &reason, Message: &why,
		AgentID: &mesos.AgentID{Value: a.id}, Timestamp: ptr(float64(a.now().UnixMicro()) / 1e6), UUID: a.cfg.IDs.Bytes(),
	}
	a.mu.Unlock()
	if executor.Value != "" {
		s.ExecutorID = &executor
	}
	a.updates.add(fw.ID.Value, s)
}

// reconcile answers a master that asks about a task.
func (a *Agent) reconcile(fw mesos.FrameworkInfo, t mesos.Task) {
	if a.findTask(fw.ID.Value, t.TaskID.Value) != nil || a.updates.pending(fw.ID.Value, t.TaskID.Value) {
		return
	}
	var executor mesos.ExecutorID
	if t.ExecutorID != nil {
		executor = *t.ExecutorID
	}
	a.drop(fw, t.TaskID, executor, mesos.REASON_RECONCILIATION, "Reconciliation: task unknown to the agent")
}

// containerStatus is what the agent merges into a status update: for a nested
// container the addresses of the namespace that it lives in, but not before it
// runs nor after it ended. The lock is held.
func (a *Agent) containerStatus(c *container, state mesos.TaskState) *mesos.ContainerStatus {
	out := &mesos.ContainerStatus{ContainerID: c.cid()}
	if c.parent != nil && (state == mesos.TASK_STARTING || terminal(state)) {
		return out
	}
	out.NetworkInfos = a.networkInfos(c, state)
	out.ExecutorPID = a.executorPID(c)
	return out
}

// executorPID is the process that a status shows: none for Docker, one that
// cannot exist for a task on paper.
func (a *Agent) executorPID(c *container) *uint32 {
	switch {
	case c.docker:
		return nil
	case c.proc != nil:
		return ptr(uint32(c.proc.pid()))
	case a.paper() && c.phase != gone:
		return ptr(uint32(1<<22 + c.seq)) // beyond PID_MAX_LIMIT
	}
	return nil
}

// networkInfos are a container's addresses as the status shows them.
func (a *Agent) networkInfos(c *container, state mesos.TaskState) []mesos.NetworkInfo {
	root := c.root()
	if c.docker {
		return a.dockerInfos(c, state)
	}
	if len(root.networks) == 0 { // host network: the agent's own address
		return []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{ipAddress(a.cfg.Host, mesos.IPv4)}}}
	}
	var out []mesos.NetworkInfo
	for _, n := range inHashOrder(root.networks) {
		info := mesos.NetworkInfo{Name: n.info.Name, Labels: n.info.Labels, PortMappings: n.info.PortMappings}
		if n.ip4 != "" {
			info.IPAddresses = append(info.IPAddresses, ipAddress(n.ip4, mesos.IPv4))
		}
		if n.ip6 != "" {
			info.IPAddresses = append(info.IPAddresses, ipAddress(n.ip6, mesos.IPv6))
		}
		if info.IPAddresses != nil {
			out = append(out, info)
		}
	}
	return out
}

func ipAddress(ip string, protocol mesos.NetworkInfo_Protocol) mesos.NetworkInfo_IPAddress {
	return mesos.NetworkInfo_IPAddress{Protocol: &protocol, IPAddress: &ip}
}
