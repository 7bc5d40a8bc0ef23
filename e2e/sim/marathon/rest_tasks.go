package marathon

import (
	"net/http"
	"slices"
	"strings"
)

// appModel is an app with what is always embedded: counts and deployments.
func (m *Marathon) appModel(s *runSpec, tasks bool) object {
	out := s.model()
	staged, running, healthy, unhealthy := 0, 0, 0, 0
	list := []object{}
	for _, i := range m.instancesOf(s.id) {
		switch i.condition {
		case "Running":
			running++
		case "Staging", "Starting", "Provisioned":
			staged++
		}
		for _, t := range i.tasks {
			switch h := t.health(); {
			case h == nil:
			case *h:
				healthy++
			default:
				unhealthy++
			}
		}
		list = append(list, m.taskModels(i)...)
	}
	out["tasksStaged"], out["tasksRunning"], out["tasksHealthy"], out["tasksUnhealthy"] = staged, running, healthy, unhealthy
	deployments := []object{}
	for _, d := range m.deployments {
		if slices.Contains(d.apps, s.id) {
			deployments = append(deployments, object{"id": d.plan.ID})
		}
	}
	out["deployments"] = deployments
	if tasks {
		out["tasks"] = list
	}
	return out
}

// taskModels are an instance's tasks as /v2/tasks shows them: apps only. One
// that waits for its launch has none.
func (m *Marathon) taskModels(i *instance) []object {
	if i.spec.pod {
		return nil
	}
	var out []object
	for _, t := range i.tasks {
		condition := t.condition
		if i.condition == "UnreachableInactive" {
			condition = i.condition
		}
		o := object{
			"id": t.id, "appId": i.spec.id, "host": i.host, "state": taskState(condition), "ipAddresses": orEmpty(t.ips),
			"ports": []int{}, "servicePorts": servicePorts(i.spec), "healthCheckResults": healthResults(i, t),
			"localVolumes": []any{}, "role": i.spec.role(),
		}
		if i.agentID != "" {
			o["slaveId"] = i.agentID
		}
		if !terminalCondition(condition) && condition != "UnreachableInactive" {
			o["ports"] = orEmpty(t.ports)
			o["version"] = stamp(i.spec.version)
			if !i.staged.IsZero() {
				o["stagedAt"] = stamp(i.staged)
			}
			if !i.started.IsZero() {
				o["startedAt"] = stamp(i.started)
			}
		}
		out = append(out, o)
	}
	return out
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func healthResults(i *instance, t *task) []any {
	out := t.resultModels(i)
	if t.healthy == nil {
		return out
	}
	failures := 0
	if !*t.healthy {
		failures = 1
	}
	return append(out, object{"alive": *t.healthy, "consecutiveFailures": failures, "instanceId": i.id})
}

func servicePorts(s *runSpec) []int {
	out := []int{}
	if s.app.Container != nil {
		for _, p := range s.app.Container.PortMappings {
			out = append(out, p.ServicePort)
		}
	}
	return out
}

// taskState is the TASK_ name of a condition.
func taskState(condition string) string {
	switch condition {
	case "Scheduled", "Provisioned":
		return "TASK_STAGING"
	case "UnreachableInactive":
		return "TASK_UNREACHABLE"
	}
	return "TASK_" + strings.ToUpper(condition)
}

// getTasks is /v2/tasks: the status filter looks at the instance's condition,
// Running or Staging exactly; other values are ignored.
func (m *Marathon) getTasks(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var conditions []string
	for _, s := range append(q["status"], q["status[]"]...) {
		switch s {
		case "running":
			conditions = append(conditions, "Running")
		case "staging":
			conditions = append(conditions, "Staging")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	tasks := []object{}
	for _, i := range m.sortedInstances() {
		if len(conditions) == 0 || slices.Contains(conditions, i.condition) {
			tasks = append(tasks, m.taskModels(i)...)
		}
	}
	reply(w, r, http.StatusOK, object{"tasks": tasks})
}

// appTasks is /v2/apps/{id}/tasks, and the killing of tasks there.
func (m *Marathon) appTasks(w http.ResponseWriter, r *http.Request, id, taskID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	group, whole := strings.CutSuffix(id, "/*")
	if s := m.root[id]; !whole && (s == nil || s.pod) {
		m.noApp(w, id)
		return
	}
	tasks := []object{}
	var hit []*instance
	for _, i := range m.sortedInstances() {
		if whole && !strings.HasPrefix(i.spec.id, group+"/") || !whole && i.spec.id != id {
			continue
		}
		for _, t := range i.tasks {
			if taskID == "" || t.id == taskID {
				hit = append(hit, i)
				break
			}
		}
		if taskID == "" {
			tasks = append(tasks, m.taskModels(i)...)
		}
	}
	switch r.Method {
	case http.MethodGet:
		reply(w, r, http.StatusOK, object{"tasks": tasks})
	case http.MethodDelete:
		m.killInstances(w, r, hit, taskID)
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

func (m *Marathon) deleteTasks(w http.ResponseWriter, r *http.Request) {
	var in struct {
		IDs []string `json:"ids"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var hit []*instance
	for _, id := range in.IDs {
		if i, t, ok := m.find(id); ok && t != nil {
			hit = append(hit, i)
		}
	}
	m.killInstances(w, r, hit, "")
}

// killInstances kills tasks. With scale=true their apps shrink; else the same
// instances start again.
func (m *Marathon) killInstances(w http.ResponseWriter, r *http.Request, hit []*instance, single string) {
	if single != "" && len(hit) == 0 {
		fail(w, http.StatusNotFound, "Task '"+single+"' does not exist")
		return
	}
	models := []object{}
	for _, i := range hit {
		models = append(models, m.taskModels(i)...)
	}
	if r.URL.Query().Get("scale") == "true" {
		m.scaleDown(w, r, hit)
		return
	}
	for _, i := range hit {
		m.kill(i)
	}
	if single != "" && len(models) > 0 {
		reply(w, r, http.StatusOK, object{"task": models[0]})
		return
	}
	reply(w, r, http.StatusOK, object{"tasks": models})
}

func (m *Marathon) scaleDown(w http.ResponseWriter, r *http.Request, hit []*instance) {
	specs := map[string]*runSpec{}
	for _, i := range hit {
		old := m.target[i.spec.id]
		if old == nil || old.pod {
			continue
		}
		n := old.instances
		if s := specs[old.id]; s != nil {
			n = s.instances
		}
		spec, err := m.updated(old.id, object{"instances": float64(max(n-1, 0))})
		if err != nil {
			refuseChange(w, err)
			return
		}
		specs[old.id] = spec
		m.decommission(i)
	}
	m.replyChange(w, r, specs, "/")
}
