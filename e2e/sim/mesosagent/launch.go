package mesosagent

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/netns"
)

// launchTask starts a command task. It returns at once.
func (a *Agent) launchTask(fw mesos.FrameworkInfo, info mesos.TaskInfo) {
	c := a.newContainer(nil, fw.ID.Value)
	c.command = true
	c.docker = info.Container != nil && info.Container.GetType() == mesos.ContainerInfo_DOCKER
	c.executor = commandExecutor(fw, info)
	t := a.newTask(c, fw.ID.Value, info, "")
	a.remember(fw)
	a.addContainer(c)
	a.running.Go(func() { a.runTask(c, t) })
}

func (a *Agent) remember(fw mesos.FrameworkInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frameworks[fw.ID.Value] = fw
}

// commandExecutor is the executor that an agent makes up for a command task.
func commandExecutor(fw mesos.FrameworkInfo, t mesos.TaskInfo) mesos.ExecutorInfo {
	command := t.Command.GetValue()
	if len(command) > 15 {
		command = command[:12] + "..."
	}
	return mesos.ExecutorInfo{
		ExecutorID:  mesos.ExecutorID{Value: t.TaskID.Value},
		FrameworkID: fw.ID,
		Container:   t.Container,
		Resources:   t.Resources,
		Name:        ptr(fmt.Sprintf("Command Executor (Task: %s) (Command: sh -c '%s')", t.TaskID.Value, command)),
		Source:      ptr(t.TaskID.Value),
		Labels:      t.Labels,
		Discovery:   t.Discovery,
	}
}

// runTask is a command task's life.
func (a *Agent) runTask(c *container, t *taskRun) {
	defer a.removeContainer(c)
	start := a.now()
	if why := a.isolate(c, t.info.Container, t.info.Command, t); why != nil {
		if !killedEarly(t) {
			a.report(t, mesos.TASK_FAILED, *why)
		}
		return
	}
	defer a.cleanUp(c)
	if killedEarly(t) || c.quitting() { // while ADD ran: the update went out then
		return
	}
	if a.now().Sub(start) > a.cfg.RegistrationTimeout || !a.executorRegisters(c, t.killed) {
		if killedEarly(t) || c.quitting() {
			return
		}
		a.stopProcess(c, 0)
		a.report(t, mesos.TASK_FAILED, status{source: mesos.SOURCE_AGENT, bare: true,
			reason: mesos.REASON_EXECUTOR_REGISTRATION_TIMEOUT.Enum(), message: "Executor did not register within 1mins"})
		return
	}
	a.mu.Lock()
	if t.done() {
		a.mu.Unlock()
		return
	}
	c.phase = running
	a.mu.Unlock()
	a.report(t, mesos.TASK_STARTING, status{source: mesos.SOURCE_EXECUTOR})
	if c.proc != nil {
		c.proc.run()
	}
	a.report(t, mesos.TASK_RUNNING, status{source: mesos.SOURCE_EXECUTOR, data: a.dockerInspect(c, t)})
	stopChecks := a.startHealthCheck(c, t)
	acked := a.await(c, t)
	stopChecks()
	a.executorLingers(c, acked)
}

// await waits for a task's end and reports it.
func (a *Agent) await(c *container, t *taskRun) (acked <-chan struct{}) {
	exited := make(<-chan struct{})
	if c.proc != nil {
		exited = c.proc.exited
	}
	ended := func(state mesos.TaskState, words string) <-chan struct{} {
		return a.report(t, state, status{source: mesos.SOURCE_EXECUTOR, message: words})
	}
	select {
	case <-exited:
		code, words := c.proc.ending()
		return ended(stateOf(code), words)
	case code := <-t.exit:
		return ended(stateOf(code), fmt.Sprintf("Command exited with status %d", code))
	case <-t.killed:
		if a.hasKilling(t.framework) {
			a.report(t, mesos.TASK_KILLING, status{source: mesos.SOURCE_EXECUTOR})
		}
		words := "Command terminated with signal Terminated"
		if c.proc != nil {
			c.proc.stop(grace(t.info))
			_, words = c.proc.ending()
		}
		return ended(mesos.TASK_KILLED, words)
	case <-c.quit: // the framework or the agent is gone: nobody is told
		a.stopProcess(c, time.Second)
		acked := make(chan struct{})
		close(acked)
		return acked
	}
}

func stateOf(code int) mesos.TaskState {
	if code == 0 {
		return mesos.TASK_FINISHED
	}
	return mesos.TASK_FAILED
}

func grace(t mesos.TaskInfo) time.Duration {
	if d := t.KillPolicy.GetGracePeriod(); d != nil {
		return time.Duration(d.Nanoseconds)
	}
	return 3 * time.Second
}

// executorLingers is the executor after its last update: it waits for the
// acknowledgement, then exits.
func (a *Agent) executorLingers(c *container, acked <-chan struct{}) {
	fired, stop := a.cfg.Clock.After(ackWait)
	defer stop()
	select {
	case <-acked:
	case <-fired:
	case <-c.quit:
	}
}

func killedEarly(t *taskRun) bool {
	select {
	case <-t.killed:
		return true
	default:
		return false
	}
}

// isolate forks the container's process and attaches its networks. When it
// fails the network is cleaned up already, as Mesos does before it reports.
func (a *Agent) isolate(c *container, info *mesos.ContainerInfo, command *mesos.CommandInfo, t *taskRun) *status {
	failed := func(err error) *status {
		return &status{source: mesos.SOURCE_AGENT, bare: true,
			reason: mesos.REASON_CONTAINER_LAUNCH_FAILED.Enum(), message: "Failed to launch container: " + err.Error()}
	}
	var networks []attachment
	var err error
	if !c.docker {
		if networks, err = attachments(info); err != nil {
			return failed(err)
		}
	}
	a.mu.Lock()
	c.networks = networks
	a.mu.Unlock()
	if a.paper() {
		a.paperAttach(c)
		return nil
	}
	for _, n := range networks {
		if _, err := a.networkConfig(n.name); err != nil {
			return failed(err)
		}
	}
	ns := a.cfg.NS
	if c.parent != nil && !c.own() {
		ns = netns.OfPid(c.parent.proc.pid())
	}
	fresh := c.own() && (!c.docker || !dockerOnHost(info))
	p, err := fork(ns, fresh, command.GetValue(), shellArgs(command), a.environment(c, t), a.sandbox(c))
	if err != nil {
		return failed(err)
	}
	a.mu.Lock()
	c.proc = p
	a.mu.Unlock()
	if fresh && c.docker {
		if err := loopbackUp(netns.OfPid(p.pid())); err != nil {
			a.cleanUp(c)
			return failed(err)
		}
	}
	if len(networks) == 0 {
		return nil
	}
	err = bind(p.pid(), a.cniDir(c))
	if err == nil {
		err = a.attach(c)
	}
	if err != nil {
		a.cleanUp(c)
		return failed(err)
	}
	if noIPv4(c) && c.parent == nil { // the executor cannot resolve its own name, and dies
		a.cleanUp(c)
		return &status{source: mesos.SOURCE_AGENT, bare: true,
			reason: mesos.REASON_EXECUTOR_TERMINATED.Enum(), message: "Executor terminated"}
	}
	return nil
}

func noIPv4(c *container) bool {
	for _, n := range c.networks {
		if n.ip4 != "" {
			return false
		}
	}
	return true
}

func shellArgs(c *mesos.CommandInfo) []string {
	if c == nil || c.GetShell() || c.GetValue() == "" {
		return nil
	}
	args := c.Arguments
	if len(args) == 0 {
		return []string{c.GetValue()}
	}
	return append([]string{c.GetValue()}, args[1:]...) // arguments[0] is argv[0]
}

func (a *Agent) sandbox(c *container) string {
	return filepath.Join(a.cfg.Dir, "sandboxes", c.fullID())
}

// environment is a task's: the agent's PATH, what the framework set, and
// Mesos' own variables.
func (a *Agent) environment(c *container, t *taskRun) []string {
	path := os.Getenv("PATH")
	if a.cfg.TaskPath != "" {
		path = a.cfg.TaskPath + ":" + path
	}
	env := []string{
		"PATH=" + path,
		"MESOS_SANDBOX=" + a.sandbox(c),
		"MESOS_AGENT_ENDPOINT=" + a.endpoint(),
		"MESOS_CONTAINER_ID=" + c.id,
	}
	command := c.executor.Command
	if t != nil {
		env = append(env, "MESOS_TASK_ID="+t.id)
		command = t.info.Command
	}
	for _, v := range command.GetEnvironment().GetVariables() {
		env = append(env, v.Name+"="+v.GetValue())
	}
	return env
}

// stopProcess ends a container's process, if it has one.
func (a *Agent) stopProcess(c *container, grace time.Duration) {
	a.mu.Lock()
	p := c.proc
	a.mu.Unlock()
	if p != nil {
		p.stop(grace)
	}
}

// cleanUp is the end of a container: its processes, then DEL. A DEL that fails
// leaves the namespace until the agent starts again.
func (a *Agent) cleanUp(c *container) {
	a.stopProcess(c, 0)
	a.mu.Lock()
	rebooting := a.rebooting
	a.mu.Unlock()
	if len(c.networks) == 0 || a.paper() || rebooting {
		return
	}
	if err := a.detach(c.fullID(), a.cniDir(c)); err != nil {
		a.cfg.Log.Warn("network stays until the agent restarts", "host", a.cfg.Hostname, "container", c.fullID(), "err", err)
	}
}

// killTask is the framework's KILL.
func (a *Agent) killTask(framework, id string) {
	t := a.findTask(framework, id)
	if t == nil {
		return
	}
	c := t.container
	if c.parent != nil {
		c = c.parent
	}
	a.mu.Lock()
	early := c.phase == isolating
	a.mu.Unlock()
	if !early {
		t.kill()
		return
	}
	tasks := c.tasks
	for _, nested := range c.group { // a group is delivered whole or not at all
		tasks = append(tasks, nested.tasks...)
	}
	for _, t := range tasks {
		a.report(t, mesos.TASK_KILLED, status{source: mesos.SOURCE_AGENT, bare: true,
			reason: mesos.REASON_TASK_KILLED_DURING_LAUNCH.Enum(), message: "Killed before delivery to the executor"})
		t.kill()
	}
}

func (a *Agent) hasKilling(framework string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fw := a.frameworks[framework]
	for _, c := range fw.Capabilities {
		if c.Type == mesos.FrameworkInfo_Capability_TASK_KILLING_STATE {
			return true
		}
	}
	return false
}

// shutdownFramework destroys what a removed framework has running.
func (a *Agent) shutdownFramework(framework string) {
	a.updates.dropFramework(framework)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.containers {
		if c.framework == framework {
			c.destroy()
		}
	}
	delete(a.frameworks, framework)
}

// destroyAll ends every container and waits for it.
func (a *Agent) destroyAll() {
	a.mu.Lock()
	list := a.sortedContainers()
	a.mu.Unlock()
	for _, c := range list {
		c.destroy()
	}
	for _, c := range list {
		<-c.ended
	}
}
