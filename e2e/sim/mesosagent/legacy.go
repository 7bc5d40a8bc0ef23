package mesosagent

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// legacy answers one of the older paths, with what model returns under the
// agent's lock.
func (a *Agent) legacy(w http.ResponseWriter, r *http.Request, model func() any) {
	if !(wire.Endpoint{Realm: "mesos-agent-readonly", Users: a.cfg.Users}).Authenticate(w, r) {
		return
	}
	a.mu.Lock()
	body, err := json.Marshal(model())
	a.mu.Unlock()
	if err != nil {
		wire.Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	wire.ReplyJSON(w, body)
}

// legacyContainer is one entry of GET /containers: flat ids, top-level
// containers only.
type legacyContainer struct {
	ContainerID  string          `json:"container_id"`
	ExecutorID   string          `json:"executor_id"`
	ExecutorName string          `json:"executor_name"`
	FrameworkID  string          `json:"framework_id"`
	Source       string          `json:"source"`
	Statistics   map[string]any  `json:"statistics"`
	Status       json.RawMessage `json:"status"`
}

func (a *Agent) legacyContainers() any {
	out := []legacyContainer{}
	for _, c := range slices.Backward(a.sortedContainers()) {
		if c.parent != nil {
			continue
		}
		out = append(out, legacyContainer{
			ContainerID: c.id, ExecutorID: c.executor.ExecutorID.Value, ExecutorName: c.executor.GetName(),
			FrameworkID: c.framework, Source: c.executor.GetSource(),
			Statistics: map[string]any{"timestamp": float64(a.now().UnixMicro()) / 1e6},
			Status:     sortedKeys(wire.JSON(a.liveStatus(c))),
		})
	}
	return out
}

// sortedKeys is JSON as the older paths print it.
func sortedKeys(b []byte) json.RawMessage {
	var v any
	if json.Unmarshal(b, &v) != nil {
		return b
	}
	out, _ := json.Marshal(v)
	return out
}

type legacyTask struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	FrameworkID string            `json:"framework_id"`
	ExecutorID  string            `json:"executor_id"`
	SlaveID     string            `json:"slave_id"`
	State       string            `json:"state"`
	Statuses    []json.RawMessage `json:"statuses"`
	Labels      []mesos.Label     `json:"labels,omitempty"`
	Container   json.RawMessage   `json:"container,omitempty"`
}

type legacyExecutor struct {
	ID             string       `json:"id"`
	Name           string       `json:"name"`
	Source         string       `json:"source"`
	Container      string       `json:"container"`
	Directory      string       `json:"directory"`
	Tasks          []legacyTask `json:"tasks"`
	QueuedTasks    []legacyTask `json:"queued_tasks"`
	CompletedTasks []legacyTask `json:"completed_tasks"`
}

type legacyFramework struct {
	ID                 string           `json:"id"`
	Name               string           `json:"name"`
	User               string           `json:"user"`
	Checkpoint         bool             `json:"checkpoint"`
	Hostname           string           `json:"hostname"`
	Roles              []string         `json:"roles"`
	Executors          []legacyExecutor `json:"executors"`
	CompletedExecutors []legacyExecutor `json:"completed_executors"`
}

// legacyState is GET /state: which container id belongs to which executor.
func (a *Agent) legacyState() any {
	frameworks := []legacyFramework{}
	for _, f := range a.frameworksModel().Frameworks {
		fw := legacyFramework{
			ID: f.FrameworkInfo.ID.Value, Name: f.FrameworkInfo.Name, User: f.FrameworkInfo.User,
			Checkpoint: f.FrameworkInfo.GetCheckpoint(), Roles: f.FrameworkInfo.Roles,
			Executors: []legacyExecutor{}, CompletedExecutors: []legacyExecutor{},
		}
		for _, c := range a.sortedContainers() {
			if c.parent == nil && c.framework == fw.ID {
				fw.Executors = append(fw.Executors, a.legacyExecutor(c))
			}
		}
		frameworks = append(frameworks, fw)
	}
	version := master.VersionInfo()
	return map[string]any{
		"version": version.Version, "git_sha": version.GetGitSHA(), "build_date": version.GetBuildDate(),
		"build_time": version.GetBuildTime(), "build_user": version.GetBuildUser(),
		"start_time": float64(a.started.UnixMicro()) / 1e6,
		"id":         a.id, "pid": a.pid, "hostname": a.cfg.Hostname,
		"attributes": a.cfg.Attributes, "flags": a.flags(),
		"frameworks": frameworks, "completed_frameworks": []any{},
	}
}

func (a *Agent) legacyExecutor(c *container) legacyExecutor {
	e := legacyExecutor{
		ID: c.executor.ExecutorID.Value, Name: c.executor.GetName(), Source: c.executor.GetSource(),
		Container: c.id, Directory: a.sandbox(c),
		Tasks: []legacyTask{}, QueuedTasks: []legacyTask{}, CompletedTasks: []legacyTask{},
	}
	tasks := slices.Clone(c.tasks)
	for _, n := range c.group {
		tasks = append(tasks, n.tasks...)
	}
	for _, t := range tasks {
		m := legacyTask{
			ID: t.id, Name: t.info.Name, FrameworkID: t.framework, ExecutorID: t.executorID,
			SlaveID: a.id, State: t.state.String(), Statuses: []json.RawMessage{}, Labels: t.info.Labels.GetLabels(),
		}
		if t.info.Container != nil {
			m.Container = wire.JSON(t.info.Container)
		}
		for i := range t.statuses {
			s, _ := json.Marshal(map[string]any{
				"state": t.statuses[i].State.String(), "timestamp": t.statuses[i].GetTimestamp(),
				"container_status": json.RawMessage(wire.JSON(statusOrEmpty(t.statuses[i].ContainerStatus))),
			})
			m.Statuses = append(m.Statuses, s)
		}
		switch {
		case t.done():
			e.CompletedTasks = append(e.CompletedTasks, m)
		case t.state == mesos.TASK_STAGING:
			e.QueuedTasks = append(e.QueuedTasks, m)
		default:
			e.Tasks = append(e.Tasks, m)
		}
	}
	return e
}

func statusOrEmpty(s *mesos.ContainerStatus) *mesos.ContainerStatus {
	if s == nil {
		return &mesos.ContainerStatus{}
	}
	return s
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
