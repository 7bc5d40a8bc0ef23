package marathon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// instance is one run of a spec: an app's task, or a pod.
type instance struct {
	id        string
	seq       int
	spec      *runSpec
	condition string
	stopped   bool // goal: decommissioned
	agentID   string
	host      string
	tasks     []*task
	since     time.Time
	staged    time.Time
	started   time.Time
	attempt   int
	notBefore time.Time
	healthy   *bool
}

// task is what Marathon keeps of a Mesos task.
type task struct {
	id          string
	container   string // of a pod
	status      string // TASK_…, the latest
	condition   string
	ips         []ipAddress
	ports       []int
	names       []mesos.NetworkInfo // for pods, which keep the networks' names
	healthy     *bool               // as Mesos says
	checks      map[int]*checkResult
	containerID string
}

// health joins what Mesos and Marathon's own checks say: nil when none has
// spoken yet, false when one found the task ill.
func (t *task) health() *bool {
	out := t.healthy
	for _, r := range t.checks {
		if out == nil || !r.alive {
			out = ptr(r.alive)
		}
		if !*out {
			break
		}
	}
	return out
}

func (t *task) done() bool { return terminalCondition(t.condition) }

// conditions of task states (CLUSTER-API 1.4).
var conditionOf = map[mesos.TaskState]string{
	mesos.TASK_STAGING: "Staging", mesos.TASK_STARTING: "Starting", mesos.TASK_RUNNING: "Running",
	mesos.TASK_KILLING: "Killing", mesos.TASK_FINISHED: "Finished", mesos.TASK_FAILED: "Failed",
	mesos.TASK_KILLED: "Killed", mesos.TASK_ERROR: "Error", mesos.TASK_LOST: "Unreachable",
	mesos.TASK_UNREACHABLE: "Unreachable", mesos.TASK_DROPPED: "Dropped", mesos.TASK_GONE: "Gone",
	mesos.TASK_GONE_BY_OPERATOR: "Gone", mesos.TASK_UNKNOWN: "Unknown",
}

func terminalCondition(c string) bool {
	switch c {
	case "Error", "Failed", "Finished", "Killed", "Gone", "Dropped", "Unknown":
		return true
	}
	return false
}

// worst is the order in which a pod's tasks decide its condition.
var worst = []string{"Error", "Failed", "Gone", "Dropped", "Unreachable", "Killing", "Starting", "Staging",
	"Unknown", "Provisioned", "Running", "Finished", "Killed"}

func (i *instance) derived() string {
	best := len(worst)
	for _, t := range i.tasks {
		if n := slices.Index(worst, t.condition); n >= 0 && n < best {
			best = n
		}
	}
	if best == len(worst) {
		return i.condition
	}
	return worst[best]
}

// active reports whether Mesos may be running something of the instance.
func (i *instance) active() bool {
	switch i.condition {
	case "Provisioned", "Staging", "Starting", "Running", "Killing", "Unreachable", "UnreachableInactive":
		return true
	}
	return false
}

func (m *Marathon) sortedInstances() []*instance {
	list := slices.Collect(maps.Values(m.instances))
	slices.SortFunc(list, func(a, b *instance) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// instancesOf are a spec's instances, oldest first.
func (m *Marathon) instancesOf(id string) []*instance { return slices.Clone(m.bySpec[id]) }

// schedule adds an instance to the launch queue.
func (m *Marathon) schedule(spec *runSpec) {
	m.seq++
	mark := ".instance-"
	if m.cfg.LegacyTaskIDs && !spec.pod {
		mark = legacyMark
	}
	i := &instance{
		id: safe(spec.id) + mark + m.cfg.IDs.TimeUUID(), seq: m.seq, spec: spec, condition: "Scheduled",
		since: m.cfg.Clock.Now(),
	}
	m.instances[i.id] = i
	m.bySpec[spec.id] = append(m.bySpec[spec.id], i)
	m.publishInstance(i, i.condition)
	m.touch()
}

// setCondition moves an instance and says so.
func (m *Marathon) setCondition(i *instance, condition string) {
	if i.condition == condition {
		return
	}
	i.condition = condition
	i.since = m.cfg.Clock.Now()
	m.publishInstance(i, condition)
	m.touch()
}

// decommission gives an instance the goal to end.
func (m *Marathon) decommission(i *instance) {
	if i.stopped {
		return
	}
	i.stopped = true
	m.publishInstance(i, i.condition) // the goal changed
	if !i.active() {
		m.setCondition(i, "Killed")
		m.expunge(i)
		return
	}
	m.kill(i)
}

func (m *Marathon) kill(i *instance) {
	for _, t := range i.tasks {
		if !t.done() {
			m.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: t.id}}})
		}
	}
}

// expunge forgets an instance. The last one of a deleted spec ends it.
func (m *Marathon) expunge(i *instance) {
	delete(m.instances, i.id)
	m.bySpec[i.spec.id] = slices.DeleteFunc(m.bySpec[i.spec.id], func(o *instance) bool { return o == i })
	m.touch()
}

// update takes a status update from Mesos. An unknown instance's end is told,
// and if it lives it is killed.
func (m *Marathon) update(s mesos.TaskStatus) {
	condition := conditionOf[*s.State]
	i, t, known := m.find(s.TaskID.Value)
	if !known {
		m.updateUnknown(s, condition)
		return
	}
	if t == nil || t.done() {
		return // a stale incarnation, or over already: no event
	}
	healthChanged := s.Healthy != nil && (t.healthy == nil || *t.healthy != *s.Healthy)
	if t.condition == condition && !healthChanged {
		return // nothing new: reconciliation, or a repeat
	}
	stateChanged := t.condition != condition
	t.condition, t.status = condition, s.State.String()
	if s.Healthy != nil {
		t.healthy = s.Healthy
	}
	if !terminalCondition(condition) { // kept at terminal updates, emptied by TASK_UNREACHABLE
		t.ips = addresses(s)
		t.names = s.GetContainerStatus().GetNetworkInfos()
	}
	if cid := s.GetContainerStatus().GetContainerID(); cid != nil {
		t.containerID = cid.Value
	}
	if condition == "Running" && i.started.IsZero() {
		i.started = m.cfg.Clock.Now()
	}
	m.publishStatus(i, t, s.GetMessage())
	if healthChanged {
		m.publishHealth(i)
	}
	if stateChanged {
		m.setCondition(i, i.derived())
		if condition == "Running" && t.checks == nil {
			m.probe(i, t)
		}
	}
	m.touch()
	m.follow(i)
}

func (m *Marathon) publishHealth(i *instance) {
	var all *bool
	for _, t := range i.tasks {
		if h := t.health(); h != nil && (all == nil || !*h) {
			all = h
		}
	}
	i.healthy = all
	m.publish("instance_health_changed_event", instanceHealthChanged{
		InstanceID: i.id, RunSpecID: i.spec.id, Healthy: all, RunSpecVersion: stamp(i.spec.version),
		Timestamp: stamp(m.cfg.Clock.Now()), EventType: "instance_health_changed_event",
	})
}

// follow does what an instance's condition asks for.
func (m *Marathon) follow(i *instance) {
	switch {
	case i.condition == "Unreachable":
		m.handleUnreachable(i)
	case slices.ContainsFunc(i.tasks, func(t *task) bool { return !t.done() }):
	case i.stopped:
		m.expunge(i)
	default: // it ended by itself: the same instance starts again, with the next incarnation
		wait := i.spec.backoff()
		if m.cfg.Backoff >= 0 {
			wait = m.cfg.Backoff
		}
		if i.attempt > 3 { // one that fails for ever must not keep the cluster busy
			wait = max(wait, min(time.Duration(i.attempt)*100*time.Millisecond, 5*time.Second))
		}
		m.after(wait, func() { m.reschedule(i) })
	}
}

func (m *Marathon) reschedule(i *instance) {
	if m.instances[i.id] != i || i.stopped || i.active() {
		if m.instances[i.id] == i && i.stopped && !i.active() {
			m.expunge(i)
		}
		return
	}
	if spec := m.target[i.spec.id]; spec == nil {
		m.decommission(i)
		return
	} else if spec.config.Equal(i.spec.config) {
		i.spec = spec
	}
	i.agentID, i.host = "", ""
	i.staged, i.started, i.healthy = time.Time{}, time.Time{}, nil
	m.setCondition(i, "Scheduled")
	m.revive()
}

func (m *Marathon) handleUnreachable(i *instance) {
	inactive, expunge, off := i.spec.unreachable()
	if off {
		return
	}
	m.after(inactive, func() {
		if m.instances[i.id] != i || i.condition != "Unreachable" {
			return
		}
		m.setCondition(i, "UnreachableInactive")
		if !i.stopped && m.target[i.spec.id] != nil {
			m.schedule(m.target[i.spec.id]) // a replacement, while the old one may still run
			m.revive()
		}
		m.after(expunge-inactive, func() {
			if m.instances[i.id] == i && i.condition == "UnreachableInactive" {
				m.expunge(i)
			}
		})
	})
}

// updateUnknown handles a task whose instance Marathon does not know.
func (m *Marathon) updateUnknown(s mesos.TaskStatus, condition string) {
	if terminalCondition(condition) || condition == "Unreachable" {
		id := instanceOf(s.TaskID.Value)
		m.publish("unknown_instance_terminated_event", unknownTerminated{
			InstanceID: id, RunSpecID: pathOf(id), Condition: condition,
			Timestamp: stamp(m.cfg.Clock.Now()), EventType: "unknown_instance_terminated_event",
		})
		return
	}
	m.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: s.TaskID}})
}

// find is the instance of a task id, and the task if it is the current
// incarnation.
func (m *Marathon) find(taskID string) (*instance, *task, bool) {
	i := m.instances[instanceOf(taskID)]
	if i == nil {
		return nil, nil, false
	}
	for _, t := range i.tasks {
		if t.id == taskID {
			return i, t, true
		}
	}
	return i, nil, true
}

func addresses(s mesos.TaskStatus) []ipAddress {
	var out []ipAddress
	for _, n := range s.GetContainerStatus().GetNetworkInfos() {
		for _, ip := range n.IPAddresses {
			protocol := mesos.IPv4
			if ip.Protocol != nil {
				protocol = *ip.Protocol
			}
			out = append(out, ipAddress{ip.GetIPAddress(), protocol.String()})
		}
	}
	return out
}

// taskID is a task's id: <instance>._app.<n> or <instance>.<container>.<n>; of
// old, <safe>.<uuid> and then <safe>.<uuid>.<n>.
func taskID(i *instance, container string) string {
	if name, uuid := cutInstance(i.id); i.id == name+legacyMark+uuid {
		if i.attempt == 1 {
			return name + "." + uuid
		}
		return fmt.Sprintf("%s.%s.%d", name, uuid, i.attempt)
	}
	return fmt.Sprintf("%s.%s.%d", i.id, cmp.Or(container, "_app"), i.attempt)
}
