package mirror

import (
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
)

// Each Put says how one thing is; it makes an event if the log says otherwise,
// and reports whether it did. Each Gone says that a thing is no more. The time
// is the source's own, or zero.

// PutTask says how a task is.
func (m *Mirror) PutTask(t events.Task, at time.Time) bool {
	key := t.Key()
	old, had := m.cluster.Tasks[key]
	if had && sameTask(&old, &t) {
		return false
	}
	m.add(events.Event{Kind: events.TaskPut, Task: &t}, key, before(old, had), t, at)
	return true
}

// TaskGone says that a task is no longer anywhere.
func (m *Mirror) TaskGone(key, reason string, at time.Time) bool {
	old, had := m.cluster.Tasks[key]
	return m.gone(events.TaskGone, key, reason, before(old, had), at)
}

// PutHost says how a host is.
func (m *Mirror) PutHost(h events.Host, at time.Time) bool {
	old, had := m.cluster.Hosts[h.Agent]
	if had && sameHost(old, h) {
		return false
	}
	m.add(events.Event{Kind: events.HostPut, Host: &h}, h.Agent, before(old, had), h, at)
	return true
}

// HostGone says that a Mesos agent will never return.
func (m *Mirror) HostGone(agent, reason string, at time.Time) bool {
	old, had := m.cluster.Hosts[agent]
	return m.gone(events.HostGone, agent, reason, before(old, had), at)
}

// PutFramework says how a framework is.
func (m *Mirror) PutFramework(f events.Framework, at time.Time) bool {
	old, had := m.cluster.Frameworks[f.ID]
	if had && sameFramework(old, f) {
		return false
	}
	m.add(events.Event{Kind: events.FrameworkPut, Framework: &f}, f.ID, before(old, had), f, at)
	return true
}

// FrameworkGone says that a framework is no more.
func (m *Mirror) FrameworkGone(id, reason string, at time.Time) bool {
	old, had := m.cluster.Frameworks[id]
	return m.gone(events.FrameworkGone, id, reason, before(old, had), at)
}

// PutMarathon says what Marathon says of itself.
func (m *Mirror) PutMarathon(n events.Marathon, at time.Time) bool {
	var old any
	if c := m.cluster.Marathon; c != nil {
		if *c == n {
			return false
		}
		old = *c
	}
	m.add(events.Event{Kind: events.MarathonPut, Marathon: &n}, "", old, n, at)
	return true
}

// PutApp says what an app's or pod's current version is.
func (m *Mirror) PutApp(a events.App, at time.Time) bool {
	old, had := m.cluster.Apps[a.ID]
	if had && sameApp(old, a) {
		return false
	}
	m.add(events.Event{Kind: events.AppPut, App: &a}, a.ID, before(old, had), a, at)
	return true
}

// AppGone says that an app or pod is no more.
func (m *Mirror) AppGone(id, reason string, at time.Time) bool {
	old, had := m.cluster.Apps[id]
	return m.gone(events.AppGone, id, reason, before(old, had), at)
}

// PutDeployment says how far a deployment has come. One that ended is told
// only once, and only if its beginning was: see events.Cluster.
func (m *Mirror) PutDeployment(d events.Deployment, at time.Time) bool {
	old, had := m.cluster.Deployments[d.ID]
	if had && sameDeployment(old, d) || !had && d.State != "running" {
		return false
	}
	m.add(events.Event{Kind: events.DeploymentPut, Deployment: &d}, d.ID, before(old, had), d, at)
	return true
}

func (m *Mirror) gone(kind events.Kind, key, reason string, old any, at time.Time) bool {
	if old == nil {
		return false
	}
	m.add(events.Event{Kind: kind, Gone: &events.Gone{Key: key, Reason: reason}}, key, old, nil, at)
	return true
}

// before is a level that may not have been there.
func before[T any](old T, had bool) any {
	if !had {
		return nil
	}
	return old
}

func sameTask(a, b *events.Task) bool {
	return a.Framework == b.Framework && a.ID == b.ID && a.State == b.State && a.Agent == b.Agent &&
		a.Name == b.Name && a.Executor == b.Executor && a.Role == b.Role &&
		a.Containerizer == b.Containerizer && a.Container == b.Container &&
		a.Reason == b.Reason && a.Message == b.Message && same(a.Healthy, b.Healthy) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.ExecutorLabels, b.ExecutorLabels) &&
		a.Nested == b.Nested && slices.EqualFunc(a.Networks, b.Networks, sameNetwork) &&
		slices.EqualFunc(a.ExecutorNetworks, b.ExecutorNetworks, sameNetwork) && slices.Equal(a.Ports, b.Ports)
}

func sameNetwork(a, b events.Network) bool {
	return a.Name == b.Name && maps.Equal(a.Labels, b.Labels) && slices.Equal(a.Addresses, b.Addresses)
}

func sameHost(a, b events.Host) bool {
	return a.Agent == b.Agent && a.Name == b.Name && a.Address == b.Address && a.Port == b.Port &&
		a.Reachable == b.Reachable && maps.Equal(a.Attributes, b.Attributes)
}

func sameFramework(a, b events.Framework) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Principal == b.Principal && a.Active == b.Active &&
		a.Connected == b.Connected && slices.Equal(a.Roles, b.Roles)
}

func sameApp(a, b events.App) bool {
	return a.ID == b.ID && a.Version == b.Version && a.Pod == b.Pod && a.Instances == b.Instances &&
		maps.Equal(a.Labels, b.Labels) && slices.Equal(a.Networks, b.Networks) && slices.Equal(a.Ports, b.Ports)
}

func sameDeployment(a, b events.Deployment) bool {
	return a.ID == b.ID && a.Version == b.Version && a.State == b.State && a.Reason == b.Reason && a.Client == b.Client &&
		slices.Equal(a.Apps, b.Apps) && slices.Equal(a.Actions, b.Actions)
}

func same(a, b *bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
