package marathon

import (
	"math"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror"
)

// limits reduces answers and events within the log's bounds.
type limits struct{ mirror.Limits }

func (l *limits) app(w *wireApp) (events.App, bool) {
	a := events.App{
		ID:        w.ID,
		Version:   l.Name(w.Version),
		Instances: w.Instances,
		Labels:    l.labels(w.Labels),
		Networks:  l.networks(w.Networks),
	}
	ports := w.PortDefinitions
	if w.Container != nil && len(w.Container.PortMappings) > 0 {
		ports = w.Container.PortMappings
	}
	for _, p := range ports {
		a.Ports = l.port(a.Ports, p.Name, max(p.ContainerPort, p.Port), mirror.Protocols(p.Protocol))
	}
	return a, l.ID(a.ID)
}

func (l *limits) pod(w *wirePod) (events.App, bool) {
	a := events.App{
		ID:        w.ID,
		Version:   l.Name(w.Version),
		Pod:       true,
		Instances: w.Scaling.Instances,
		Labels:    l.labels(w.Labels),
		Networks:  l.networks(w.Networks),
	}
	for _, c := range w.Containers {
		for _, e := range c.Endpoints {
			number := e.ContainerPort
			if number == 0 && !slices.ContainsFunc(w.Networks, wireNetwork.own) {
				number = e.HostPort
			}
			a.Ports = l.port(a.Ports, e.Name, number, mirror.Protocols(e.Protocol...))
		}
	}
	return a, l.ID(a.ID)
}

// own reports whether a network gives its tasks a namespace of their own.
func (n wireNetwork) own() bool { return strings.HasPrefix(n.Mode, "container") }

// port appends a port once for each of its protocols. Number 0 means one that
// Marathon chooses for each task, which is the task's to tell.
func (l *limits) port(ps []events.Port, name string, number int, protocols []string) []events.Port {
	if number <= 0 || number > math.MaxUint16 {
		return ps
	}
	for _, p := range protocols {
		if len(ps) == mirror.MaxPorts {
			l.Drop("ports")
			break
		}
		ps = append(ps, events.Port{Name: l.Name(name), Number: number, Protocol: p})
	}
	return ps
}

func (l *limits) labels(m map[string]string) map[string]string {
	list := make([]mirror.Label, 0, len(m))
	for _, k := range events.SortedKeys(m) {
		list = append(list, mirror.Label{Key: k, Value: m[k]})
	}
	return l.Labels(list)
}

// networks are those that are named: the host's is not, nor is a bridge.
func (l *limits) networks(ws []wireNetwork) []string {
	var names []string
	for _, w := range ws {
		if w.Name != "" {
			names = append(names, w.Name)
		}
	}
	return l.Names(names)
}

func (l *limits) deployment(w *wireDeployment) (events.Deployment, bool) {
	d := events.Deployment{ID: w.ID, Version: l.Name(w.Version), State: "running"}
	apps := slices.Concat(w.AffectedApps, w.AffectedPods)
	var actions []string
	for _, step := range w.Steps {
		for _, a := range step {
			actions = append(actions, a.name()+" "+a.target())
			apps = append(apps, a.target())
		}
	}
	slices.Sort(apps)
	apps = slices.DeleteFunc(slices.Compact(apps), func(a string) bool { return a == "" })
	d.Apps, d.Actions = l.Names(apps), l.Names(actions)
	return d, l.ID(d.ID)
}

func (a wireAction) name() string {
	if a.Action != "" {
		return a.Action
	}
	return a.Type
}

func (a wireAction) target() string {
	if a.App != "" {
		return a.App
	}
	return a.Pod
}

func (l *limits) marathon(w *wireInfo) (events.Marathon, bool) {
	m := events.Marathon{
		Framework: w.Framework,
		Name:      l.Name(w.Config.FrameworkName),
		Version:   l.Name(w.Version),
		Leader:    l.Name(w.Leader),
	}
	if m.Name == "" {
		m.Name = l.Name(w.Name)
	}
	return m, l.ID(m.Framework)
}
