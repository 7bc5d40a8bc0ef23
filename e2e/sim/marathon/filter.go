package marathon

import (
	"net/http"
	"slices"
	"strings"
)

// Overload makes every member answer 503, as LimitConcurrentRequestsFilter does
// while too many requests are under way (CLUSTER-API 1.1).
func (m *Marathon) Overload(on bool) { m.overloaded.Store(on) }

// Hide is an authorization plugin that lets nobody view some groups, apps and
// pods, nor what is in them; "/" is everything. Nothing hides nothing.
func (m *Marathon) Hide(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hidden = ids
}

// mayView reports whether an app, a pod or a group may be viewed. The lock is held.
func (m *Marathon) mayView(id string) bool {
	return !slices.ContainsFunc(m.hidden, func(h string) bool { return id == h || within(id, h) })
}

// forbids answers for an app or a pod that may not be viewed.
func (m *Marathon) forbids(w http.ResponseWriter, r *http.Request) bool {
	for _, kind := range []string{"/v2/apps", "/v2/pods"} {
		rest, ok := strings.CutPrefix(r.URL.Path, kind+"/")
		if !ok || r.Method != http.MethodGet {
			continue
		}
		id, _, _ := strings.Cut("/"+rest, "::")
		for _, part := range []string{"/versions", "/tasks"} {
			if of, _, is := cutResource(id, part); is {
				id = of
			}
		}
		id = strings.TrimSuffix(id, "/")
		m.mu.Lock()
		ok = id == "" || strings.HasSuffix(id, "/*") || m.mayView(id) // lists leave out
		m.mu.Unlock()
		if !ok {
			fail(w, http.StatusForbidden, "Not Authorized to perform this action!")
			return true
		}
	}
	return false
}
