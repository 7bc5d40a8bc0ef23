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
	return put(m, m.cluster.Tasks, t.Key(), t, sameTask, events.Event{Kind: events.TaskPut, Task: &t}, at)
}

// TaskGone says that a task is no longer anywhere.
func (m *Mirror) TaskGone(key, reason string, at time.Time) bool {
	return gone(m, m.cluster.Tasks, events.TaskGone, key, reason, at)
}

// PutHost says how a host is.
func (m *Mirror) PutHost(h events.Host, at time.Time) bool {
	return put(m, m.cluster.Hosts, h.Agent, h, sameHost, events.Event{Kind: events.HostPut, Host: &h}, at)
}

// HostGone says that a Mesos agent will never return.
func (m *Mirror) HostGone(agent, reason string, at time.Time) bool {
	return gone(m, m.cluster.Hosts, events.HostGone, agent, reason, at)
}

// PutFramework says how a framework is.
func (m *Mirror) PutFramework(f events.Framework, at time.Time) bool {
	return put(m, m.cluster.Frameworks, f.ID, f, sameFramework, events.Event{Kind: events.FrameworkPut, Framework: &f}, at)
}

// FrameworkGone says that a framework is no more.
func (m *Mirror) FrameworkGone(id, reason string, at time.Time) bool {
	return gone(m, m.cluster.Frameworks, events.FrameworkGone, id, reason, at)
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
	return put(m, m.cluster.Apps, a.ID, a, sameApp, events.Event{Kind: events.AppPut, App: &a}, at)
}

// AppGone says that an app or pod is no more.
func (m *Mirror) AppGone(id, reason string, at time.Time) bool {
	return gone(m, m.cluster.Apps, events.AppGone, id, reason, at)
}

// PutDeployment says how far a deployment has come. One that ended is told
// only once, and only if its beginning was: see events.Cluster.
func (m *Mirror) PutDeployment(d events.Deployment, at time.Time) bool {
	if _, had := m.cluster.Deployments[d.ID]; !had && d.State != "running" {
		return false
	}
	return put(m, m.cluster.Deployments, d.ID, d, sameDeployment, events.Event{Kind: events.DeploymentPut, Deployment: &d}, at)
}

func put[T any](m *Mirror, levels map[string]T, key string, now T, same func(old, now T) bool, e events.Event, at time.Time) bool {
	old, had := levels[key]
	if had && same(old, now) {
		return false
	}
	m.add(e, key, before(old, had), now, at)
	return true
}

func gone[T any](m *Mirror, levels map[string]T, kind events.Kind, key, reason string, at time.Time) bool {
	old, had := levels[key]
	if !had {
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

func sameTask(a, b events.Task) bool {
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
