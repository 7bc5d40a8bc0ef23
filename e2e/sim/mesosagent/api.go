package mesosagent

import (
	"maps"
	"net/http"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/agent"

	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// ServeHTTP is the agent's HTTP server.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/v1", "/slave(1)/api/v1":
		a.operator(w, r)
	case "/api/v1/executor", "/slave(1)/api/v1/executor":
		wire.ReplyJSON(w, []byte(`{"type":"SUBSCRIBED"}`)) // enough for package executor.go's executor
	case "/containers", "/slave(1)/containers":
		a.legacy(w, r, a.legacyContainers)
	case "/state", "/slave(1)/state", "/state.json":
		a.legacy(w, r, a.legacyState)
	case "/flags", "/slave(1)/flags":
		a.legacy(w, r, func() any { return map[string]any{"flags": a.flags()} })
	case "/health", "/slave(1)/health":
		w.Header().Set("Content-Length", "0")
	default:
		wire.Text(w, http.StatusNotFound, "404 Not Found.")
	}
}

func (a *Agent) operator(w http.ResponseWriter, r *http.Request) {
	endpoint := wire.Endpoint{Name: "agent::Call", Realm: "mesos-agent-readwrite", Users: a.cfg.Users}
	var call agent.Call
	x := endpoint.Open(w, r, &call, func() string {
		if call.Type == agent.Call_UNKNOWN {
			return "Expecting 'type' to be present"
		}
		if call.Type == agent.Call_GET_CONTAINERS && call.GetContainers == nil {
			call.GetContainers = &agent.Call_GetContainers{}
		}
		return ""
	})
	if x == nil {
		return
	}
	answer := a.get(&call)
	if answer == nil {
		wire.Text(w, http.StatusNotImplemented, "")
		return
	}
	x.Reply(wire.Printer{}, answer)
}

func (a *Agent) get(call *agent.Call) *agent.Response {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch call.Type {
	case agent.Call_GET_CONTAINERS:
		out := &agent.Response{Type: agent.Response_GET_CONTAINERS}
		if list := a.containersModel(call.GetContainers.GetShowNested()); len(list) > 0 {
			out.GetContainers = &agent.Response_GetContainers{Containers: list}
		}
		return out
	case agent.Call_GET_TASKS:
		return &agent.Response{Type: agent.Response_GET_TASKS, GetTasks: a.tasksModel()}
	case agent.Call_GET_EXECUTORS:
		return &agent.Response{Type: agent.Response_GET_EXECUTORS, GetExecutors: a.executorsModel()}
	case agent.Call_GET_FRAMEWORKS:
		return &agent.Response{Type: agent.Response_GET_FRAMEWORKS, GetFrameworks: a.frameworksModel()}
	case agent.Call_GET_STATE:
		return &agent.Response{Type: agent.Response_GET_STATE, GetState: &agent.Response_GetState{
			GetTasks: a.tasksModel(), GetExecutors: a.executorsModel(), GetFrameworks: a.frameworksModel(),
		}}
	case agent.Call_GET_FLAGS:
		flags := a.flags()
		out := &agent.Response_GetFlags{}
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			out.Flags = append(out.Flags, mesos.Flag{Name: name, Value: ptr(flags[name])})
		}
		return &agent.Response{Type: agent.Response_GET_FLAGS, GetFlags: out}
	case agent.Call_GET_AGENT:
		info := a.info()
		return &agent.Response{Type: agent.Response_GET_AGENT, GetAgent: &agent.Response_GetAgent{AgentInfo: &info}}
	case agent.Call_GET_HEALTH:
		return &agent.Response{Type: agent.Response_GET_HEALTH, GetHealth: &agent.Response_GetHealth{Healthy: true}}
	case agent.Call_GET_VERSION:
		return &agent.Response{Type: agent.Response_GET_VERSION, GetVersion: &agent.Response_GetVersion{VersionInfo: master.VersionInfo()}}
	}
	return nil
}

// containersModel is GET_CONTAINERS, newest first: top-level containers with
// framework and executor, nested ones with nothing but ids (CLUSTER-API 3.5).
func (a *Agent) containersModel(nested bool) []agent.Response_GetContainers_Container {
	var top, inner []agent.Response_GetContainers_Container
	for _, c := range slices.Backward(a.sortedContainers()) {
		m := agent.Response_GetContainers_Container{
			ContainerID:        mesos.ContainerID{Value: c.id},
			ContainerStatus:    a.liveStatus(c),
			ResourceStatistics: &mesos.ResourceStatistics{Timestamp: float64(a.now().UnixMicro()) / 1e6},
		}
		if c.parent != nil {
			inner = append(inner, m)
			continue
		}
		m.FrameworkID = &mesos.FrameworkID{Value: c.framework}
		m.ExecutorID = &mesos.ExecutorID{Value: c.executor.ExecutorID.Value}
		m.ExecutorName = ptr(c.executor.GetName())
		top = append(top, m)
	}
	if nested {
		slices.Reverse(inner)
		return append(top, inner...)
	}
	return top
}

// liveStatus is a container's status as GET_CONTAINERS shows it: no addresses
// while they are being made, only the id for Docker.
func (a *Agent) liveStatus(c *container) *mesos.ContainerStatus {
	out := &mesos.ContainerStatus{ContainerID: c.cid()}
	if c.docker {
		return out
	}
	if len(c.root().networks) > 0 {
		out.NetworkInfos = a.networkInfos(c, mesos.TASK_RUNNING)
	}
	out.ExecutorPID = a.executorPID(c)
	return out
}

func (a *Agent) tasksModel() *agent.Response_GetTasks {
	out := &agent.Response_GetTasks{CompletedTasks: slices.Clone(a.terminated)}
	for _, t := range a.sortedTasks() {
		m := t.model()
		switch {
		case t.done():
			out.TerminatedTasks = append(out.TerminatedTasks, m)
		case t.state == mesos.TASK_STAGING:
			out.QueuedTasks = append(out.QueuedTasks, m)
		default:
			out.LaunchedTasks = append(out.LaunchedTasks, m)
		}
	}
	return out
}

func (a *Agent) executorsModel() *agent.Response_GetExecutors {
	out := &agent.Response_GetExecutors{}
	for _, c := range a.sortedContainers() {
		if c.parent == nil {
			out.Executors = append(out.Executors, agent.Response_GetExecutors_Executor{ExecutorInfo: c.executor})
		}
	}
	return out
}

func (a *Agent) frameworksModel() *agent.Response_GetFrameworks {
	out := &agent.Response_GetFrameworks{}
	for _, id := range slices.Sorted(maps.Keys(a.frameworks)) {
		out.Frameworks = append(out.Frameworks, agent.Response_GetFrameworks_Framework{FrameworkInfo: a.frameworks[id]})
	}
	return out
}

// flags are those that clients ask for.
func (a *Agent) flags() map[string]string {
	return map[string]string{
		"containerizers":                "mesos,docker",
		"executor_registration_timeout": "1mins",
		"hostname":                      a.cfg.Hostname,
		"http_command_executor":         map[bool]string{true: "false", false: "true"}[a.cfg.DialBack],
		"ip":                            a.cfg.Host,
		"isolation":                     "network/cni,filesystem/linux,namespaces/pid,cgroups/cpu,cgroups/mem",
		"launcher":                      "linux",
		"network_cni_config_dir":        a.cfg.CNIConf,
		"network_cni_metrics":           "true",
		"network_cni_plugins_dir":       a.cfg.CNIPlugins,
		"network_cni_root_dir_persist":  "false",
		"port":                          portOf(a.endpoint()),
		"runtime_dir":                   a.cfg.Dir + "/run",
		"work_dir":                      a.cfg.Dir,
	}
}
