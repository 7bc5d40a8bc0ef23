package marathon

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// apps is /v2/apps.
func (m *Marathon) apps(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		m.listApps(w, r)
	case http.MethodPost:
		m.createApp(w, r)
	case http.MethodPut, http.MethodPatch:
		m.updateApps(w, r)
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

func (m *Marathon) listApps(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	m.mu.Lock()
	defer m.mu.Unlock()
	apps := []object{}
	for _, id := range sortedKeys(m.root) {
		s := m.root[id]
		if s.pod || !m.mayView(id) || !strings.Contains(id, q.Get("id")) || !strings.Contains(s.app.Cmd, q.Get("cmd")) || !matchesLabels(s, q.Get("label")) {
			continue
		}
		apps = append(apps, m.appModel(s, slices.Contains(q["embed"], "apps.tasks")))
	}
	reply(w, r, http.StatusOK, object{"apps": apps})
}

// matchesLabels is the label selector's simple part: key, key==value,
// key!=value, joined by commas.
func matchesLabels(s *runSpec, selector string) bool {
	for term := range strings.SplitSeq(selector, ",") {
		if term == "" {
			continue
		}
		if k, v, ok := strings.Cut(term, "!="); ok {
			if s.app.Labels[k] == v {
				return false
			}
		} else if k, v, ok := strings.Cut(term, "=="); ok {
			if s.app.Labels[k] != v {
				return false
			}
		} else if _, ok := s.app.Labels[term]; !ok {
			return false
		}
	}
	return true
}

func (m *Marathon) createApp(w http.ResponseWriter, r *http.Request) {
	var in object
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	spec, err := parse(m.normalise(in, "/"), false)
	if err != nil {
		refuseChange(w, err)
		return
	}
	if m.target[spec.id] != nil {
		fail(w, http.StatusConflict, "An app with id ["+spec.id+"] already exists.")
		return
	}
	d, err := m.change(map[string]*runSpec{spec.id: spec}, parent(spec.id), forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	m.postEvent(r, spec)
	w.Header().Set("Location", "/v2/apps"+spec.id)
	w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
	reply(w, r, http.StatusCreated, m.appModel(spec, true))
}

func (m *Marathon) postEvent(r *http.Request, spec *runSpec) {
	m.publish("api_post_event", apiPost{clientIP(r), r.URL.Path, spec.model(), m.head("api_post_event")})
}

// updated is an existing spec changed by a partial object, or a new one.
func (m *Marathon) updated(id string, in object) (*runSpec, error) {
	in = maps.Clone(in)
	in["id"] = id
	base := object{"id": id}
	if old := m.target[id]; old != nil && !old.pod {
		if v, ok := in["version"].(string); ok && len(in) == 2 { // roll back to a version
			for _, o := range m.versions[id] {
				if stamp(o.version) == v {
					return parse(maps.Clone(o.raw), false)
				}
			}
			return nil, invalid{"/version", "no such version"}
		}
		base = maps.Clone(old.raw)
		if in["ipAddress"] != nil || hasDockerNetwork(in) {
			delete(base, "networks")
		}
	}
	for k, v := range withoutNulls(in) {
		base[k] = v
	}
	return parse(m.normalise(base, "/"), false)
}

func hasDockerNetwork(in object) bool {
	c, _ := in["container"].(object)
	d, _ := c["docker"].(object)
	return d["network"] != nil
}

func (m *Marathon) updateApps(w http.ResponseWriter, r *http.Request) {
	var in []object
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	specs := map[string]*runSpec{}
	for _, o := range in {
		id, _ := o["id"].(string)
		spec, err := m.updated(absolute(id, "/"), o)
		if err != nil {
			refuseChange(w, err)
			return
		}
		specs[spec.id] = spec
	}
	m.replyChange(w, r, specs, "/")
}

func (m *Marathon) replyChange(w http.ResponseWriter, r *http.Request, specs map[string]*runSpec, group string) {
	d, err := m.change(specs, group, forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	m.replyDeployment(w, r, d)
}

func (m *Marathon) replyDeployment(w http.ResponseWriter, r *http.Request, d *deployment) {
	w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
	reply(w, r, http.StatusOK, object{"version": stamp(d.version), "deploymentId": d.plan.ID})
}

// appPath is /v2/apps/{id…} with its subresources.
func (m *Marathon) appPath(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/apps"), "/")
	if path == "" {
		m.apps(w, r)
		return
	}
	if id, ok := strings.CutSuffix(path, "/restart"); ok && r.Method == http.MethodPost {
		m.restartApp(w, r, id)
		return
	}
	if id, rest, ok := cutResource(path, "/versions"); ok && r.Method == http.MethodGet {
		m.appVersions(w, r, id, rest)
		return
	}
	if id, rest, ok := cutResource(path, "/tasks"); ok {
		m.appTasks(w, r, id, rest)
		return
	}
	switch r.Method {
	case http.MethodGet:
		m.getApp(w, r, path)
	case http.MethodPut, http.MethodPatch:
		m.putApp(w, r, path)
	case http.MethodDelete:
		m.deleteApp(w, r, path)
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

// cutResource splits /a/b/tasks/x into /a/b and x.
func cutResource(path, name string) (id, rest string, ok bool) {
	i := strings.LastIndex(path, name)
	if i <= 0 {
		return "", "", false
	}
	rest = path[i+len(name):]
	if rest != "" && (rest[0] != '/' || strings.Contains(rest[1:], "/")) {
		return "", "", false
	}
	return path[:i], strings.TrimPrefix(rest, "/"), true
}

func (m *Marathon) noApp(w http.ResponseWriter, id string) {
	fail(w, http.StatusNotFound, "App '"+id+"' does not exist")
}

func (m *Marathon) getApp(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if group, ok := strings.CutSuffix(id, "/*"); ok {
		apps := []object{}
		for _, k := range sortedKeys(m.root) {
			if s := m.root[k]; !s.pod && m.mayView(k) && strings.HasPrefix(k, group+"/") {
				apps = append(apps, m.appModel(s, true))
			}
		}
		reply(w, r, http.StatusOK, object{"*": apps})
		return
	}
	s := m.root[id]
	if s == nil || s.pod {
		m.noApp(w, id)
		return
	}
	reply(w, r, http.StatusOK, object{"app": m.appModel(s, true)})
}

func (m *Marathon) putApp(w http.ResponseWriter, r *http.Request, id string) {
	var in object
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Method == http.MethodPatch && m.target[id] == nil {
		m.noApp(w, id)
		return
	}
	created := m.target[id] == nil
	spec, err := m.updated(id, in)
	if err != nil {
		refuseChange(w, err)
		return
	}
	d, err := m.change(map[string]*runSpec{id: spec}, parent(id), forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	m.postEvent(r, spec)
	if created {
		w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
		w.Header().Set("Location", "/v2/apps"+id)
		reply(w, r, http.StatusCreated, m.appModel(spec, true))
		return
	}
	m.replyDeployment(w, r, d)
}

func (m *Marathon) deleteApp(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.target[id]; s == nil || s.pod {
		m.noApp(w, id)
		return
	}
	m.replyChange(w, r, map[string]*runSpec{id: nil}, parent(id))
}

func (m *Marathon) restartApp(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.target[id]
	if s == nil || s.pod {
		m.noApp(w, id)
		return
	}
	d, err := m.restart(s, forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	m.replyDeployment(w, r, d)
}

func (m *Marathon) appVersions(w http.ResponseWriter, r *http.Request, id, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.versions[id]
	if version == "" {
		if m.root[id] == nil {
			m.noApp(w, id)
			return
		}
		versions := []string{}
		for _, s := range slices.Backward(list) {
			versions = append(versions, stamp(s.version))
		}
		reply(w, r, http.StatusOK, object{"versions": versions})
		return
	}
	for _, s := range list {
		if stamp(s.version) == version && !s.pod {
			reply(w, r, http.StatusOK, s.model())
			return
		}
	}
	fail(w, http.StatusNotFound, "App '"+id+"' with version '"+version+"' does not exist")
}
