package mesosagent

import (
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// launchGroup starts a pod: a container for the default executor, and one
// nested in it for each task. It returns at once. launch is the master's belief
// that there is no executor of that id; the tasks are dropped where there is one
// all the same, and where the one that is meant has exited or is about to.
func (a *Agent) launchGroup(fw mesos.FrameworkInfo, executor mesos.ExecutorInfo, launch bool, tasks []mesos.TaskInfo) {
	old := a.executorContainer(fw.ID.Value, executor.ExecutorID.Value)
	why := ""
	switch {
	case launch && old != nil:
		why = "Master wants to launch executor, but one already exists"
		for _, n := range old.group { // the master does not know of it
			n.tasks[0].kill()
		}
	case !launch && old == nil:
		why = "No executor is expected to launch and there is none running"
	case !launch:
		why = "Executor terminating" // it is never given a second group to run
	}
	if why != "" {
		for _, t := range tasks {
			a.drop(fw, t.TaskID, executor.ExecutorID, mesos.REASON_EXECUTOR_TERMINATED, why)
		}
		return
	}
	c := a.newContainer(nil, fw.ID.Value)
	c.executor = executor
	for _, info := range tasks {
		nested := a.newContainer(c, fw.ID.Value)
		nested.executor = executor
		a.newTask(nested, fw.ID.Value, info, executor.ExecutorID.Value)
		c.group = append(c.group, nested)
	}
	a.remember(fw)
	a.addContainer(c)
	a.running.Go(func() { a.runGroup(c) })
}

// executorContainer is the container of a pod's executor, until nothing of it is
// left.
func (a *Agent) executorContainer(framework, executor string) *container {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.containers {
		if !c.command && c.parent == nil && c.framework == framework && c.executor.ExecutorID.Value == executor {
			return c
		}
	}
	return nil
}

func (a *Agent) runGroup(c *container) {
	defer a.executorExits(c)
	defer a.removeContainer(c)
	abort := make(chan struct{}) // closed when any task was killed before delivery
	done := make(chan struct{})
	defer close(done)
	var once sync.Once
	for _, n := range c.group {
		go func() { // ends with the group
			select {
			case <-n.tasks[0].killed:
				once.Do(func() { close(abort) })
			case <-done:
			}
		}()
	}
	start := a.now()
	if why := a.isolate(c, c.executor.Container, nil, nil); why != nil {
		a.abandon(c, why)
		return
	}
	defer a.cleanUp(c)
	late := a.now().Sub(start) > a.cfg.RegistrationTimeout
	if late || !a.executorRegisters(c, abort) {
		a.abandon(c, &status{source: mesos.SOURCE_AGENT, bare: true,
			reason: mesos.REASON_EXECUTOR_REGISTRATION_TIMEOUT.Enum(), message: "Executor did not register within 1mins"})
		return
	}
	a.mu.Lock()
	early := c.group[0].tasks[0].done() || c.quitting()
	if !early {
		c.phase = running
	}
	a.mu.Unlock()
	if early {
		a.abandon(c, nil)
		return
	}
	for _, n := range c.group {
		a.addContainer(n)
		a.report(n.tasks[0], mesos.TASK_STARTING, status{source: mesos.SOURCE_EXECUTOR})
	}
	var wg sync.WaitGroup
	for _, n := range c.group {
		wg.Go(func() { a.runNested(c, n) })
	}
	wg.Wait()
}

// abandon ends a group that was never delivered; why is nil when its tasks
// have had their last update.
func (a *Agent) abandon(c *container, why *status) {
	for _, n := range c.group {
		if why != nil && !killedEarly(n.tasks[0]) {
			a.report(n.tasks[0], mesos.TASK_FAILED, *why)
		}
		a.removeContainer(n)
	}
}

// runNested is the life of one task of a pod. When it ends badly or by a kill,
// the others are killed too.
func (a *Agent) runNested(parent, c *container) {
	t := c.tasks[0]
	defer a.removeContainer(c)
	killOthers := func() {
		for _, o := range parent.group {
			o.tasks[0].kill()
		}
	}
	stopQuit := make(chan struct{})
	defer close(stopQuit)
	go func() { // the parent's end is the child's; ends with the child
		select {
		case <-parent.quit:
			c.destroy()
		case <-stopQuit:
		}
	}()
	if why := a.isolate(c, t.info.Container, t.info.Command, t); why != nil {
		a.report(t, mesos.TASK_FAILED, *why)
		killOthers()
		return
	}
	defer a.cleanUp(c)
	a.mu.Lock()
	c.phase = running
	a.mu.Unlock()
	if c.proc != nil {
		c.proc.run()
	}
	a.report(t, mesos.TASK_RUNNING, status{source: mesos.SOURCE_EXECUTOR})
	stopChecks := a.startHealthCheck(c, t)
	acked := a.await(c, t)
	stopChecks()
	a.mu.Lock()
	state := t.state
	a.mu.Unlock()
	if state != mesos.TASK_FINISHED {
		killOthers()
	}
	a.executorLingers(c, acked)
}

// executorExits tells the master that a pod's executor is over.
func (a *Agent) executorExits(c *container) {
	a.mu.Lock()
	leader, id := a.leader, a.id
	a.mu.Unlock()
	if leader != nil && !c.quitting() {
		leader.ExecutorExited(id, c.framework, c.executor.ExecutorID.Value, 0)
	}
}

// startHealthCheck runs a task's Mesos health check beside it: its first
// result, and each change, is a status update of its own. Enough consecutive
// failures kill the task. The returned function stops it.
func (a *Agent) startHealthCheck(c *container, t *taskRun) (stop func()) {
	check := t.info.HealthCheck
	if check == nil {
		return func() {}
	}
	quit := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.checkHealth(c, t, check, quit)
	}()
	return func() { close(quit); <-done }
}

func (a *Agent) checkHealth(c *container, t *taskRun, check *mesos.HealthCheck, quit <-chan struct{}) {
	seconds := func(p *float64, def float64) time.Duration {
		if p != nil {
			def = *p
		}
		return time.Duration(def * float64(time.Second))
	}
	begun := a.now()
	wait := seconds(check.DelaySeconds, 15)
	var last *bool
	failures := 0
	for {
		fired, stop := a.cfg.Clock.After(wait)
		select {
		case <-quit:
			stop()
			return
		case <-t.killed:
			stop()
			return
		case <-fired:
		}
		wait = seconds(check.IntervalSeconds, 10)
		healthy := a.probe(c, t, check, seconds(check.TimeoutSeconds, 20))
		if healthy {
			failures = 0
		} else if last == nil && a.now().Sub(begun) < seconds(check.GracePeriodSeconds, 10) {
			continue
		} else {
			failures++
		}
		if last == nil || *last != healthy {
			last = &healthy
			a.report(t, mesos.TASK_RUNNING, status{source: mesos.SOURCE_EXECUTOR, healthy: &healthy,
				reason: mesos.REASON_TASK_HEALTH_CHECK_STATUS_UPDATED.Enum()})
		}
		limit := 3
		if check.ConsecutiveFailures != nil {
			limit = int(*check.ConsecutiveFailures)
		}
		if limit > 0 && failures >= limit {
			t.kill()
			return
		}
	}
}
