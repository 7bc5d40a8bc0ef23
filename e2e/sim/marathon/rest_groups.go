package marathon

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// groups is /v2/groups[/{id…}].
func (m *Marathon) groups(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/groups"), "/")
	if id == "" {
		id = "/"
	}
	switch r.Method {
	case http.MethodGet:
		m.getGroup(w, r, id)
	case http.MethodPost, http.MethodPut:
		m.putGroup(w, r, id)
	case http.MethodDelete:
		m.deleteGroup(w, r, id)
	default:
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
}

func (m *Marathon) getGroup(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of, is := strings.CutSuffix(id, "/apps"); is { // not the group of that name
		m.listGroupApps(w, r, cmp.Or(of, "/"))
		return
	}
	if id != "/" && !m.groupExists(id) {
		fail(w, http.StatusNotFound, "Group '"+id+"' does not exist")
		return
	}
	if id == "/" && !m.mayView(id) { // an empty group, and not even its version
		reply(w, r, http.StatusOK, object{"id": "/", "apps": []any{}, "pods": []any{}, "groups": []any{}, "dependencies": []any{}})
		return
	}
	embed := r.URL.Query()["embed"]
	has := func(what string) bool { return len(embed) == 0 || slices.Contains(embed, what) }
	reply(w, r, http.StatusOK, m.groupModel(id, has("group.apps") || slices.Contains(embed, "group.apps.tasks"), has("group.pods"),
		has("group.groups"), slices.Contains(embed, "group.apps.tasks")))
}

// listGroupApps lists the apps of a group and of those in it.
func (m *Marathon) listGroupApps(w http.ResponseWriter, r *http.Request, group string) {
	list := []object{}
	for _, id := range sortedKeys(m.root) {
		if s := m.root[id]; !s.pod && within(id, group) && m.mayView(id) {
			list = append(list, m.appModel(s, false))
		}
	}
	reply(w, r, http.StatusOK, list)
}

func within(id, group string) bool { return group == "/" || strings.HasPrefix(id, group+"/") }

func (m *Marathon) groupExists(id string) bool {
	for k := range m.root {
		if within(k, id) && m.mayView(k) {
			return true
		}
	}
	return false
}

func (m *Marathon) groupModel(id string, apps, pods, groups, tasks bool) object {
	out := object{"id": id, "dependencies": []any{}, "version": stamp(m.lastVersion), "enforceRole": false}
	appList, podList, groupList := []object{}, []object{}, []object{}
	var children []string
	for _, k := range sortedKeys(m.root) {
		if !within(k, id) || !m.mayView(k) {
			continue
		}
		s := m.root[k]
		if parent(k) != id {
			rest := strings.TrimPrefix(strings.TrimPrefix(k, id), "/")
			child := absolute(strings.SplitN(rest, "/", 2)[0], id)
			if !slices.Contains(children, child) {
				children = append(children, child)
			}
			continue
		}
		if s.pod {
			podList = append(podList, m.podModel(s))
		} else {
			appList = append(appList, m.appModel(s, tasks))
		}
	}
	if apps {
		out["apps"] = appList
	}
	if pods {
		out["pods"] = podList
	}
	if groups {
		for _, c := range children {
			groupList = append(groupList, m.groupModel(c, apps, pods, groups, tasks))
		}
		out["groups"] = groupList
	}
	return out
}

// putGroup creates or replaces a group and everything under it.
func (m *Marathon) putGroup(w http.ResponseWriter, r *http.Request, id string) {
	var in object
	if !readJSON(w, r, &in) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if named, ok := in["id"].(string); ok && named != "" {
		id = absolute(named, id)
		if id == "" {
			id = "/"
		}
	}
	specs := map[string]*runSpec{}
	if err := m.collect(in, id, specs); err != nil {
		refuseChange(w, err)
		return
	}
	if r.Method == http.MethodPut || id != "/" {
		for k := range m.target { // what the group no longer has is deleted
			if within(k, id) && specs[k] == nil && id != "/" {
				specs[k] = nil
			}
		}
	}
	d, err := m.change(specs, id, forced(r))
	if err != nil {
		refuseChange(w, err)
		return
	}
	w.Header().Set("Marathon-Deployment-Id", d.plan.ID)
	status := http.StatusOK
	if r.Method == http.MethodPost {
		status = http.StatusCreated
	}
	reply(w, r, status, object{"version": stamp(d.version), "deploymentId": d.plan.ID})
}

// collect gathers the specs of a group update.
func (m *Marathon) collect(in object, id string, specs map[string]*runSpec) error {
	for _, v := range list(in["apps"]) {
		o, ok := v.(object)
		if !ok {
			continue
		}
		spec, err := parse(m.normalise(o, id), false)
		if err != nil {
			return err
		}
		specs[spec.id] = spec
	}
	for _, v := range list(in["pods"]) {
		o, ok := v.(object)
		if !ok {
			continue
		}
		if s, ok := o["id"].(string); ok {
			o["id"] = absolute(s, id)
		}
		spec, err := parse(m.normalisePod(o), true)
		if err != nil {
			return err
		}
		specs[spec.id] = spec
	}
	for _, v := range list(in["groups"]) {
		o, ok := v.(object)
		if !ok {
			continue
		}
		name, _ := o["id"].(string)
		if err := m.collect(o, absolute(name, id), specs); err != nil {
			return err
		}
	}
	return nil
}

func (m *Marathon) deleteGroup(w http.ResponseWriter, r *http.Request, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.groupExists(id) {
		fail(w, http.StatusNotFound, "Group '"+id+"' does not exist")
		return
	}
	specs := map[string]*runSpec{}
	for k := range m.target {
		if within(k, id) {
			specs[k] = nil
		}
	}
	m.replyChange(w, r, specs, parent(id))
}
