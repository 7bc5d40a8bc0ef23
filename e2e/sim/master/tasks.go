package master

import (
	"maps"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

type taskKey struct{ framework, task string }

type task struct {
	mesos.Task
	fw    *framework
	agent *agent
	seq   int // order of addition
}

func (t *task) key() taskKey { return taskKey{t.FrameworkID.Value, t.TaskID.Value} }

func terminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_ERROR,
		mesos.TASK_LOST, mesos.TASK_DROPPED, mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

func sortedTasks(tasks map[taskKey]*task) []*task {
	list := slices.Collect(maps.Values(tasks))
	slices.SortFunc(list, func(a, b *task) int { return a.seq - b.seq })
	return list
}

// newTask is what the master keeps of a launched task: no command and no
// environment (CLUSTER-API 3.2).
func newTask(info mesos.TaskInfo, fw *framework, executor *mesos.ExecutorInfo) mesos.Task {
	t := mesos.Task{
		Name: info.Name, TaskID: info.TaskID, FrameworkID: mesos.FrameworkID{Value: fw.id}, AgentID: info.AgentID,
		State: mesos.TASK_STAGING.Enum(), Resources: allocated(info.Resources, fw.role()),
		Labels: info.Labels, Discovery: info.Discovery, Container: info.Container,
		HealthCheck: info.HealthCheck, KillPolicy: info.KillPolicy,
	}
	if executor != nil {
		t.ExecutorID = &executor.ExecutorID
	}
	if info.Command != nil && info.Command.User != nil {
		t.User = info.Command.User
	}
	return t
}

func allocated(rs []mesos.Resource, role string) []mesos.Resource {
	out := slices.Clone(rs)
	for i := range out {
		out[i].Role = nil
		out[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
	}
	return out
}

func (m *Master) addTask(a *agent, fw *framework, t mesos.Task) *task {
	m.nextSeq++
	added := &task{Task: t, fw: fw, agent: a, seq: m.nextSeq}
	a.tasks[added.key()] = added
	fw.tasks[added.key()] = added
	m.emit(taskAdded(t))
	return added
}

// returnTask adds a task that an agent brought along when it registered. The
// framework of a task that was unreachable hears that it runs.
func (m *Master) returnTask(a *agent, fw *framework, t mesos.Task, wasUnreachable bool) {
	fw.unreachable = slices.DeleteFunc(fw.unreachable, func(o *task) bool { return o.TaskID == t.TaskID })
	added := m.addTask(a, fw, t)
	if !wasUnreachable || terminal(*t.State) {
		return
	}
	status := m.newStatus(added, *t.State, mesos.REASON_AGENT_REREGISTERED, "Unreachable agent re-reregistered")
	if n := len(t.Statuses); n > 0 {
		status.ContainerStatus = t.Statuses[n-1].ContainerStatus
		status.Healthy = t.Statuses[n-1].Healthy
	}
	fw.update(status)
}

// updateTask takes a status into a task's record and tells subscribers when
// its state is new to them, or when it is about health (CLUSTER-API 3.3).
func (m *Master) updateTask(t *task, status mesos.TaskStatus, latest mesos.TaskState) {
	if !terminal(*t.State) {
		t.State = latest.Enum()
	}
	tell := true
	statuses := slices.Clone(t.Statuses)
	if n := len(statuses); n > 0 && *statuses[n-1].State == *status.State {
		statuses = statuses[:n-1]
		tell = status.Reason != nil && (*status.Reason == mesos.REASON_TASK_HEALTH_CHECK_STATUS_UPDATED ||
			*status.Reason == mesos.REASON_TASK_CHECK_STATUS_UPDATED)
	}
	kept := status
	kept.Data = nil
	t.Statuses = append(statuses, kept)
	if tell {
		m.emit(taskUpdated(t, status))
	}
}

// newStatus is a status that the master makes up itself: no uuid, so nobody
// acknowledges it.
func (m *Master) newStatus(t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) mesos.TaskStatus {
	return mesos.TaskStatus{
		TaskID: t.TaskID, State: &state, Message: &message,
		Source: mesos.SOURCE_MASTER.Enum(), Reason: &reason,
		AgentID: ptr(t.AgentID), Timestamp: ptr(seconds(m.now())),
	}
}

func (m *Master) masterUpdate(t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	status := m.newStatus(t, state, reason, message)
	m.updateTask(t, status, state)
	t.fw.update(status)
}

// lostState is TASK_LOST for frameworks that know no better.
func (m *Master) lostState(fw *framework, state mesos.TaskState) mesos.TaskState {
	for _, c := range fw.info.Capabilities {
		if c.Type == mesos.FrameworkInfo_Capability_PARTITION_AWARE {
			return state
		}
	}
	return mesos.TASK_LOST
}

// removeTask files a task under its framework's past ones. Nobody is told.
func (m *Master) removeTask(t *task) { m.fileTask(t, false) }

// fileTask removes a task. Whether it is unreachable its state does not say: to
// a framework that is not partition-aware it is TASK_LOST.
func (m *Master) fileTask(t *task, unreachable bool) {
	delete(t.agent.tasks, t.key())
	delete(t.fw.tasks, t.key())
	if unreachable {
		t.fw.unreachable = keep(append(t.fw.unreachable, t), m.cfg.KeepTasks)
	} else {
		t.fw.completed = keep(append(t.fw.completed, t), m.cfg.KeepTasks)
	}
}

// keep drops the oldest beyond n.
func keep[T any](s []T, n int) []T {
	if len(s) > n {
		return slices.Clone(s[len(s)-n:])
	}
	return s
}
