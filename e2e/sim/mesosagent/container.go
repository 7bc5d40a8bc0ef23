package mesosagent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// phase is how far a container has come.
type phase int

const (
	isolating phase = iota // forked, its networks are being attached
	running
	gone
)

// container is one Mesos container. A command task's holds one task; a pod's
// holds the executor, and each of its tasks lives in a nested container.
// Fields that change are guarded by the agent's lock.
type container struct {
	id        string
	parent    *container
	seq       int
	framework string
	command   bool // its executor is a command executor
	docker    bool
	executor  mesos.ExecutorInfo
	tasks     []*taskRun

	phase    phase
	group    []*container // a pod's tasks
	networks []attachment
	proc     *process

	quit     chan struct{} // closed to destroy it
	quitOnce sync.Once
	ended    chan struct{} // closed when nothing of it is left
}

// taskRun is a task on this agent.
type taskRun struct {
	id, framework string
	seq           int
	info          mesos.TaskInfo
	executorID    string // "" for command tasks
	container     *container
	state         mesos.TaskState
	statuses      []mesos.TaskStatus

	killed   chan struct{} // closed when somebody asked for its end
	killOnce sync.Once
	exit     chan int // a paper task's end
}

func (t *taskRun) done() bool { return terminal(t.state) }

func (t *taskRun) kill() { t.killOnce.Do(func() { close(t.killed) }) }

func (c *container) destroy() { c.quitOnce.Do(func() { close(c.quit) }) }

// fullID is the id that CNI sees: "parent.child" for a nested container.
func (c *container) fullID() string {
	if c.parent != nil {
		return c.parent.id + "." + c.id
	}
	return c.id
}

func (c *container) cid() *mesos.ContainerID {
	id := &mesos.ContainerID{Value: c.id}
	if c.parent != nil {
		id.Parent = &mesos.ContainerID{Value: c.parent.id}
	}
	return id
}

// own reports whether the container has a network namespace of its own.
func (c *container) own() bool { return len(c.networks) > 0 || c.docker }

// root is the container whose namespace this one lives in.
func (c *container) root() *container {
	if c.parent != nil && !c.own() {
		return c.parent
	}
	return c
}

func (a *Agent) newContainer(parent *container, framework string) *container {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	return &container{
		id: a.cfg.IDs.UUID(), parent: parent, seq: a.seq, framework: framework,
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
}

func (a *Agent) newTask(c *container, framework string, info mesos.TaskInfo, executor string) *taskRun {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	t := &taskRun{
		id: info.TaskID.Value, framework: framework, seq: a.seq, info: info, executorID: executor, container: c,
		state: mesos.TASK_STAGING, killed: make(chan struct{}), exit: make(chan int, 1),
	}
	c.tasks = append(c.tasks, t)
	a.tasks[[2]string{framework, t.id}] = t
	return t
}

func (a *Agent) addContainer(c *container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.containers[c.fullID()] = c
}

// removeContainer files the container's tasks under the past ones.
func (a *Agent) removeContainer(c *container) {
	a.mu.Lock()
	c.phase = gone
	delete(a.containers, c.fullID())
	for _, t := range c.tasks {
		a.terminated = append(a.terminated, t.model())
		delete(a.tasks, [2]string{t.framework, t.id})
	}
	if n := len(a.terminated); n > 150 {
		a.terminated = slices.Clone(a.terminated[n-150:])
	}
	a.mu.Unlock()
	close(c.ended)
}

// sortedContainers are all containers, oldest first. The lock is held.
func (a *Agent) sortedContainers() []*container {
	list := slices.Collect(maps.Values(a.containers))
	slices.SortFunc(list, func(x, y *container) int { return cmp.Compare(x.seq, y.seq) })
	return list
}

// sortedTasks are all tasks, oldest first. The lock is held.
func (a *Agent) sortedTasks() []*taskRun {
	list := slices.Collect(maps.Values(a.tasks))
	slices.SortFunc(list, func(x, y *taskRun) int { return cmp.Compare(x.seq, y.seq) })
	return list
}

func (a *Agent) findTask(framework, id string) *taskRun {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks[[2]string{framework, id}]
}

// model is the task as the agent reports it. The lock is held.
func (t *taskRun) model() mesos.Task {
	m := mesos.Task{
		Name: t.info.Name, TaskID: t.info.TaskID, FrameworkID: mesos.FrameworkID{Value: t.framework},
		AgentID: t.info.AgentID, State: t.state.Enum(), Resources: t.info.Resources,
		Statuses: slices.Clone(t.statuses), Labels: t.info.Labels, Discovery: t.info.Discovery,
		Container: t.info.Container, HealthCheck: t.info.HealthCheck,
	}
	if t.executorID != "" {
		m.ExecutorID = &mesos.ExecutorID{Value: t.executorID}
	}
	return m
}

// Exit ends a paper task, as if its command had ended with the code.
func (a *Agent) Exit(task string, code int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.id == task {
			select {
			case t.exit <- code:
			default:
			}
			return nil
		}
	}
	return fmt.Errorf("mesos agent %s: no task %s", a.cfg.Hostname, task)
}

// ackWait is how long an executor waits for the acknowledgement of its last
// update before it exits anyway.
const ackWait = time.Minute

func (c *container) quitting() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// View is the truth about one task on an agent.
type View struct {
	Framework, ID  string
	Executor       string // as in GET_CONTAINERS: the task's id for a command task
	Name           string
	State          mesos.TaskState
	Container      string // "parent.child" for a pod's task
	Docker         bool
	Addresses      []string // of the namespace that it lives in, without prefix
	Netns          string   // a path; "" on paper and when it has no process
	Pid            int
	Labels         map[string]string
	ExecutorLabels map[string]string
}

// Tasks are the tasks that have not ended, oldest first.
func (a *Agent) Tasks() []View {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []View
	for _, t := range a.sortedTasks() {
		if t.done() {
			continue
		}
		c := t.container
		v := View{
			Framework: t.framework, ID: t.id, Executor: cmp.Or(t.executorID, t.id), Name: t.info.Name, State: t.state,
			Container: c.fullID(), Docker: c.docker, Labels: labelMap(t.info.Labels),
		}
		if c.parent != nil {
			v.ExecutorLabels = labelMap(c.executor.Labels)
		}
		for _, n := range c.root().networks {
			if n.ip4 != "" {
				v.Addresses = append(v.Addresses, n.ip4)
			}
		}
		if c.proc != nil {
			v.Pid = c.proc.pid()
			v.Netns = fmt.Sprintf("/proc/%d/ns/net", v.Pid)
		}
		out = append(out, v)
	}
	return out
}

func labelMap(l *mesos.Labels) map[string]string {
	out := map[string]string{}
	for _, e := range l.GetLabels() {
		out[e.Key] = e.GetValue()
	}
	return out
}
