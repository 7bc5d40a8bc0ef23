package master

import (
	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// ServeHTTP is the master's HTTP server: the operator and scheduler APIs and
// the few older paths that clients use to find the leader.
func (m *Master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	phase := m.phase
	m.mu.Unlock()
	if phase == Starting || phase == Stopped {
		wire.Text(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	switch r.URL.Path {
	case "/api/v1":
		m.guard(w, r, phase, m.operator)
	case "/api/v1/scheduler":
		m.guard(w, r, phase, m.scheduler)
	case "/master/redirect", "/redirect":
		m.redirect(w, "")
	case "/master/health", "/health":
		w.Header().Set("Content-Length", "0")
	default:
		wire.Text(w, http.StatusNotFound, "404 Not Found.")
	}
}

// guard lets only a leader that has recovered answer.
func (m *Master) guard(w http.ResponseWriter, r *http.Request, phase Phase, then http.HandlerFunc) {
	switch {
	case !m.leads():
		m.redirect(w, r.URL.Path)
	case phase == Recovering:
		wire.Text(w, http.StatusServiceUnavailable, "Master has not finished recovery")
	default:
		then(w, r)
	}
}

// redirect points to the leader, without a scheme.
func (m *Master) redirect(w http.ResponseWriter, path string) {
	leader := m.cfg.Quorum.Leader()
	if leader == nil {
		wire.Text(w, http.StatusServiceUnavailable, "No leader elected")
		return
	}
	w.Header().Set("Location", "//"+leader.address()+path)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func (m *Master) operator(w http.ResponseWriter, r *http.Request) {
	endpoint := wire.Endpoint{Name: "master::Call", Realm: "mesos-master-readwrite", Users: m.cfg.Users}
	var call master.Call
	x := endpoint.Open(w, r, &call, func() string { return validate(&call) })
	if x == nil {
		return
	}
	switch call.Type {
	case master.Call_SUBSCRIBE:
		m.subscribe(x)
	case master.Call_MARK_AGENT_GONE:
		if !m.MarkGone(call.MarkAgentGone.AgentID.Value) {
			wire.Text(w, http.StatusNotFound, "Agent '"+call.MarkAgentGone.AgentID.Value+"' not found")
		}
	case master.Call_TEARDOWN:
		if m.Teardown(call.Teardown.FrameworkID.Value) != nil {
			wire.Text(w, http.StatusBadRequest, "No framework found with specified ID")
		}
	case master.Call_DEACTIVATE_AGENT, master.Call_REACTIVATE_AGENT:
		id := call.GetDeactivateAgent().GetAgentID()
		if call.Type == master.Call_REACTIVATE_AGENT {
			id = call.GetReactivateAgent().GetAgentID()
		}
		if !m.SetDeactivated(id.Value, call.Type == master.Call_DEACTIVATE_AGENT) {
			wire.Text(w, http.StatusNotFound, "Agent '"+id.Value+"' not found")
		}
	default:
		if answer := m.Get(call.Type, x.JSON()); answer != nil {
			x.Reply(printer, answer)
			return
		}
		wire.Text(w, http.StatusNotImplemented, "")
	}
}

func validate(c *master.Call) string {
	switch {
	case c.Type == master.Call_UNKNOWN:
		return "Expecting 'type' to be present"
	case c.Type == master.Call_MARK_AGENT_GONE && c.MarkAgentGone == nil:
		return "Expecting 'mark_agent_gone' to be present"
	case c.Type == master.Call_TEARDOWN && c.Teardown == nil:
		return "Expecting 'teardown' to be present"
	case c.Type == master.Call_DEACTIVATE_AGENT && c.DeactivateAgent == nil:
		return "Expecting 'deactivate_agent' to be present"
	case c.Type == master.Call_REACTIVATE_AGENT && c.ReactivateAgent == nil:
		return "Expecting 'reactivate_agent' to be present"
	}
	return ""
}

// Get answers a synchronous call, nil when it is not simulated. json says for
// which encoding: they differ (see stateModel).
func (m *Master) Get(call master.Call_Type, json bool) *master.Response {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch call {
	case master.Call_GET_STATE:
		return &master.Response{Type: master.Response_GET_STATE, GetState: m.stateModel(json)}
	case master.Call_GET_TASKS:
		return &master.Response{Type: master.Response_GET_TASKS, GetTasks: m.tasksModel(json)}
	case master.Call_GET_AGENTS:
		return &master.Response{Type: master.Response_GET_AGENTS, GetAgents: m.agentsModel()}
	case master.Call_GET_EXECUTORS:
		return &master.Response{Type: master.Response_GET_EXECUTORS, GetExecutors: m.executorsModel()}
	case master.Call_GET_FRAMEWORKS:
		return &master.Response{Type: master.Response_GET_FRAMEWORKS, GetFrameworks: m.frameworksModel()}
	case master.Call_GET_MASTER:
		return &master.Response{Type: master.Response_GET_MASTER, GetMaster: &master.Response_GetMaster{
			MasterInfo: m.info(), StartTime: ptr(seconds(m.started)), ElectedTime: ptr(seconds(m.cfg.Quorum.electedAt())),
		}}
	case master.Call_GET_HEALTH:
		return &master.Response{Type: master.Response_GET_HEALTH, GetHealth: &master.Response_GetHealth{Healthy: true}}
	case master.Call_GET_VERSION:
		return &master.Response{Type: master.Response_GET_VERSION, GetVersion: &master.Response_GetVersion{VersionInfo: VersionInfo()}}
	}
	return nil
}

// VersionInfo is what masters and agents say that they are.
func VersionInfo() mesos.VersionInfo {
	return mesos.VersionInfo{
		Version: Version, BuildDate: ptr("2026-11-23 00:00:00 UTC"), BuildTime: ptr(1795392000.0),
		BuildUser: ptr("root"), GitSHA: ptr("c1b42f79d157aa900be5cbb0c1023f1479962aa7"),
	}
}
