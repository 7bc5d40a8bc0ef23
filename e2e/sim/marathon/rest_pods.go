package marathon

import (
	"net/http"
	"slices"
	"strings"
)

// pods is /v2/pods.
func (m *Marathon) pods(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodHead:
		w.WriteHeader(http.StatusOK)
	case http.MethodGet:
		m.mu.Lock()
		defer m.mu.Unlock()
		out := []object{}
		for _, id := range sortedKeys(m.root) {
			if m.root[id].pod && m.mayView(id) {
				out = append(out, m.root[id].model())
			}
		}
		reply(w, r, http.StatusOK, out)
	case http.MethodPost:
		m.putPod(w, r, "")
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

// podPath is /v2/pods/{id…}, with its ::status and ::versions.
func (m *Marathon) podPath(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/pods")
	id, resource, _ := strings.Cut(path, "::")
	id = strings.TrimSuffix(id, "/")
	switch {
	case resource == "status" && r.Method == http.MethodGet:
		m.podStatus(w, r, id)
	case strings.HasPrefix(resource, "versions") && r.Method == http.MethodGet:
		m.podVersions(w, r, id, strings.TrimPrefix(strings.TrimPrefix(resource, "versions"), "/"))
	case resource == "instances" && r.Method == http.MethodDelete:
		m.killPod(w, r, id)
	case resource != "":
		fail(w, http.StatusNotFound, "HTTP 404 Not Found")
	case r.Method == http.MethodGet:
		m.mu.Lock()
		defer m.mu.Unlock()
		if s := m.root[id]; s != nil && s.pod {
			reply(w, r, http.StatusOK, s.model())
			return
		}
		m.noPod(w, id)
	case r.Method == http.MethodPut:
		m.putPod(w, r, id)
	case r.Method == http.MethodDelete:
		m.deletePod(w, r, id)
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

func (m *Marathon) noPod(w http.ResponseWriter, id string) {
	fail(w, http.StatusNotFound, "Pod '"+id+"' does not exist")
}

// putPod creates (no id in the path) or replaces a pod.
func (m *Marathon) putPod(w http.ResponseWriter, r *http.Request, id string) {
	var in object
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if id != "" {
		in["id"] = id
	}
	spec, err := parse(m.normalisePod(in), true)
	if err != nil {
		refuseChange(w, err)
		return
	}
	old := m.target[spec.id]
	switch {
	case id == "" && old != nil:
		fail(w, http.StatusConflict, "A pod with id ["+spec.id+"] already exists.")
		return
	case id != "" && (old == nil || !old.pod):
		m.noPod(w, id)
		return
	}
	d, err := m.change(map[string]*runSpec{spec.id: spec}, parent(spec.id), forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
	kind, status := "pod_updated_event", http.StatusOK
	if id == "" {
		kind, status = "pod_created_event", http.StatusCreated
		w.Header().Set("Location", "/v2/pods"+spec.id)
	}
	m.publish(kind, podEvent{clientIP(r), r.URL.Path, m.head(kind)})
	reply(w, r, status, spec.model())
}

func (m *Marathon) deletePod(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.target[id]; s == nil || !s.pod {
		m.noPod(w, id)
		return
	}
	d, err := m.change(map[string]*runSpec{id: nil}, parent(id), forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	m.publish("pod_deleted_event", podEvent{clientIP(r), r.URL.Path, m.head("pod_deleted_event")})
	w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
	w.WriteHeader(http.StatusAccepted)
}

// killPod is DELETE /v2/pods/{id}::instances: all instances start again.
func (m *Marathon) killPod(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.instancesOf(id) {
		m.kill(i)
	}
	reply(w, r, http.StatusOK, []any{})
}

func (m *Marathon) podVersions(w http.ResponseWriter, r *http.Request, id, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	versions := []string{}
	for _, s := range m.versions[id] {
		if version != "" && stamp(s.version) == version {
			reply(w, r, http.StatusOK, s.model())
			return
		}
		versions = append(versions, stamp(s.version))
	}
	if version != "" || m.root[id] == nil {
		m.noPod(w, id)
		return
	}
	slices.Reverse(versions)
	reply(w, r, http.StatusOK, versions)
}

func (m *Marathon) podStatus(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == "" {
		out := []object{}
		for _, k := range sortedKeys(m.root) {
			if m.root[k].pod && m.mayView(k) {
				out = append(out, m.podModel(m.root[k]))
			}
		}
		reply(w, r, http.StatusOK, out)
		return
	}
	s := m.root[id]
	if s == nil || !s.pod {
		m.noPod(w, id)
		return
	}
	reply(w, r, http.StatusOK, m.podModel(s))
}

// podModel is a PodStatus. Here networks keep their names. Instances that wait
// for an agent are left out.
func (m *Marathon) podModel(s *runSpec) object {
	instances := []object{}
	stable := 0
	since := s.version
	for _, i := range m.instancesOf(s.id) {
		if i.since.After(since) {
			since = i.since
		}
		if i.agentID == "" {
			continue
		}
		status := podInstanceStatus(i)
		if status == "STABLE" {
			stable++
		}
		instances = append(instances, m.podInstance(i, status))
	}
	status := "DEGRADED"
	if stable >= s.instances {
		status = "STABLE"
	}
	return object{
		"id": s.id, "spec": s.model(), "status": status, "statusSince": stamp(since), "instances": instances,
		"terminationHistory": []any{}, "lastUpdated": stamp(m.cfg.Clock.Now()), "lastChanged": stamp(since),
	}
}

func podInstanceStatus(i *instance) string {
	switch i.condition {
	case "Scheduled", "Provisioned":
		return "PENDING"
	case "Staging", "Starting":
		return "STAGING"
	case "Running":
		return "STABLE"
	case "Unreachable", "UnreachableInactive":
		return "DEGRADED"
	}
	return "TERMINAL"
}

func (m *Marathon) podInstance(i *instance, status string) object {
	networks := []object{}
	containers := []object{}
	need := i.spec.need()
	for n, t := range i.tasks {
		if n == 0 {
			for _, net := range t.names {
				o := object{"addresses": []string{}}
				if net.GetName() != "" {
					o["name"] = net.GetName()
				}
				ips := []string{}
				for _, ip := range net.IPAddresses {
					ips = append(ips, ip.GetIPAddress())
				}
				o["addresses"] = ips
				networks = append(networks, o)
			}
		}
		c := object{
			"name": t.container, "status": taskState(t.condition), "statusSince": stamp(i.since), "containerId": t.id,
			"conditions": []any{}, "endpoints": podEndpoints(i, t),
		}
		containers = append(containers, c)
	}
	return object{
		"id": i.id, "status": status, "statusSince": stamp(i.since), "agentId": i.agentID, "agentHostname": i.host,
		"resources": object{"cpus": need.Cpus, "mem": need.Mem, "disk": need.Disk, "gpus": 0},
		"networks":  networks, "containers": containers, "conditions": []any{}, "localVolumes": []any{},
		"specReference": "/v2/pods" + i.spec.id + "::versions/" + stamp(i.spec.version),
		"lastUpdated":   stamp(i.since), "lastChanged": stamp(i.since), "role": i.spec.role(),
	}
}

func podEndpoints(i *instance, t *task) []object {
	out := []object{}
	host := 0
	for _, c := range i.spec.podSpec.Containers {
		if c.Name != t.container {
			continue
		}
		for _, e := range c.Endpoints {
			o := object{"name": e.Name}
			if e.HostPort != nil && host < len(t.ports) {
				o["allocatedHostPort"] = t.ports[host]
				host++
			}
			out = append(out, o)
		}
	}
	return out
}
