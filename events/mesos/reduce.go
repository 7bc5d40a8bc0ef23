package mesos

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror"
)

const (
	maxAddresses = 8  // of one network
	maxNesting   = 32 // of containers
)

// limits reduces records to events within the log's bounds.
type limits struct{ mirror.Limits }

func (l *limits) labels(w wireLabels) map[string]string { return l.Labels(w.Labels) }

// id reports whether a text is an id of Mesos's: it allows no path separators of
// any system in one, and we make keys of several ids with them.
func (l *limits) id(s string) bool {
	if strings.ContainsAny(s, `/\`) {
		l.Drop("ids")
		return false
	}
	return l.ID(s)
}

// executor is what a pod's tasks have from their executor.
type executor struct {
	labels    map[string]string
	networks  []events.Network
	container *wireContainer
	// nests says that it is Mesos's default executor: each of its tasks has a
	// container of its own. What another makes of its tasks' is its own affair.
	nests bool
}

// task reduces a task as TASK_ADDED and the snapshots give it. exec is its
// executor's part, or nil for a command task and where it is not known.
func (l *limits) task(w *wireTask, exec *executor) events.Task {
	t := events.Task{
		Framework: w.Framework.Value,
		ID:        w.ID.Value,
		Name:      l.Text(w.Name),
		Executor:  w.ID.Value, // a command task's executor has the task's id
		Agent:     w.Agent.Value,
		State:     l.Name(w.State),
		Role:      l.role(w.Resources),
		Labels:    l.labels(w.Labels),
	}
	container := w.Container
	if w.Executor != nil && w.Executor.Value != "" {
		t.Executor = w.Executor.Value
	}
	if container != nil {
		t.Networks = l.networks(container.Networks)
	}
	if exec != nil {
		t.ExecutorLabels = exec.labels
		switch {
		case len(t.Networks) == 0: // it shares its executor's
			t.Networks = exec.networks
		case exec.nests && container.Type != "DOCKER":
			t.Nested, t.ExecutorNetworks = true, exec.networks
		}
		if container == nil {
			container = exec.container
		}
	}
	t.Containerizer = "mesos"
	if container != nil && container.Type == "DOCKER" {
		t.Containerizer = "docker"
	}
	t.Ports = l.ports(w.Discovery.Ports.Ports, mappings(w.Container, exec))
	for i := range w.Statuses {
		l.status(&t, &w.Statuses[i], w.Statuses[i].State)
	}
	t.State = l.Name(w.State) // the latest, which a status not yet acknowledged may be behind
	return t
}

// status folds one status update into a task. state is the state that makes
// an address in it believable.
func (l *limits) status(t *events.Task, s *wireStatus, state string) {
	t.State, t.Reason, t.Message = l.Name(state), l.Name(s.Reason), l.Text(s.Message)
	t.Healthy = s.Healthy
	t.Since = seconds(s.Timestamp)
	if id := containerID(s.Container.ID); id != "" {
		t.Container = l.Text(id)
	}
	// Only TASK_RUNNING tells the truth about addresses: before and while
	// killing, Docker tasks show the agent's (CLUSTER-API 1.5).
	if s.State == "TASK_RUNNING" {
		t.Networks = l.addresses(t.Networks, s.Container.Networks, t.Containerizer)
	}
}

// addresses returns the networks with the addresses that a status gives them.
// A status lists the networks in any order (CLUSTER-API 5.3). One of which it says
// nothing keeps what it had.
func (l *limits) addresses(networks []events.Network, said []wireNetwork, containerizer string) []events.Network {
	if len(networks) == 0 || len(said) == 0 {
		return networks
	}
	networks = slices.Clone(networks)
	for i := range networks {
		var addrs []string
		for _, s := range said {
			// The Docker containerizer does not repeat the network's name.
			if s.Name == networks[i].Name || s.Name == "" && containerizer == "docker" && len(networks) == 1 {
				for _, a := range s.Addresses {
					if addr := address(a.Address); addr != "" && len(addrs) < maxAddresses {
						addrs = append(addrs, addr)
					}
				}
			}
		}
		if len(addrs) > 0 {
			networks[i].Addresses = addrs
		}
	}
	return networks
}

// address is an address without the prefix length that IPv6 addresses of CNI
// networks come with, or "" if it is none.
func address(s string) string {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return ""
	}
	return a.String()
}

// networks are those asked for by name: one without is the host's.
func (l *limits) networks(ws []wireNetwork) []events.Network {
	var ns []events.Network
	for _, w := range ws {
		if w.Name == "" {
			continue
		}
		if len(ns) == mirror.MaxNetworks {
			l.Drop("networks")
			break
		}
		ns = append(ns, events.Network{Name: l.Name(w.Name), Labels: l.labels(w.Labels)})
	}
	return ns
}

func (l *limits) executor(w *wireExecutor) *executor {
	x := &executor{labels: l.labels(w.Info.Labels), container: w.Info.Container, nests: w.Info.Type == "DEFAULT"}
	if x.container != nil {
		x.networks = l.networks(x.container.Networks)
	}
	return x
}

// mappings are the port mappings of a task's container or its executor's.
func mappings(c *wireContainer, exec *executor) []wirePortMapping {
	var ms []wirePortMapping
	add := func(c *wireContainer) {
		if c == nil {
			return
		}
		ms = append(ms, c.Docker.PortMappings...)
		for _, n := range c.Networks {
			ms = append(ms, n.PortMappings...)
		}
	}
	add(c)
	if exec != nil {
		add(exec.container)
	}
	return ms
}

// ports are a task's discovery ports by the numbers that it listens on inside
// its own network namespace: where the number is a mapped host port, the
// container's is meant (CLUSTER-API 2.4).
func (l *limits) ports(ws []wirePort, maps []wirePortMapping) []events.Port {
	var ps []events.Port
	for _, w := range ws {
		inside := false
		for _, lb := range w.Labels.Labels {
			inside = inside || lb.Key == "network-scope" && lb.Value == "container"
		}
		for _, proto := range mirror.Protocols(w.Protocol) {
			number := w.Number
			for _, m := range maps {
				if !inside && m.Host == w.Number && (m.Protocol == "" || slices.Contains(mirror.Protocols(m.Protocol), proto)) {
					number = m.Container
					break
				}
			}
			if number > math.MaxUint16 {
				l.Drop("ports")
				continue
			}
			if len(ps) == mirror.MaxPorts {
				l.Drop("ports")
				return ps
			}
			ps = append(ps, events.Port{Name: l.Name(w.Name), Number: int(number), Protocol: proto})
		}
	}
	return ps
}

// anyRole is the default of a role, which JSON always has and protobuf has not.
const anyRole = "*"

// role is that of a task. One that the log cannot hold as it is is none: a
// policy must not see it as another.
func (l *limits) role(rs []wireResource) string {
	r := role(rs)
	if r != "" && !l.ID(r) {
		return ""
	}
	return r
}

// role is the role whose resources a task uses.
func role(rs []wireResource) string {
	for _, r := range rs {
		if r.Allocation.Role != "" {
			return r.Allocation.Role
		}
	}
	for _, r := range rs {
		if r.Role != "" {
			return r.Role
		}
	}
	if len(rs) > 0 {
		return anyRole
	}
	return ""
}

// containerID is "parent.child" for a nested container.
func containerID(w *wireContainerID) string {
	var parts []string
	for ; w != nil && len(parts) < maxNesting; w = w.Parent {
		parts = append(parts, w.Value)
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

func (l *limits) host(w *wireAgent) events.Host {
	h := l.hostInfo(&w.Info)
	// An agent whose connection has dropped is not active; one that an
	// operator deactivated is neither, but there.
	h.Reachable = w.Active || w.Deactivated
	h.Since = latest(w.Registered, w.Reregistered)
	_, at, _ := strings.Cut(w.PID, "@") // slave(1)@10.0.0.1:5051
	if ap, err := netip.ParseAddrPort(at); err == nil {
		h.Address, h.Port = ap.Addr().Unmap().String(), int(ap.Port())
	}
	return h
}

// hostInfo is what an agent says of itself: all that is known of one that a
// new master has only recovered.
func (l *limits) hostInfo(w *wireAgentInfo) events.Host {
	h := events.Host{Agent: w.ID.Value, Name: l.Text(w.Hostname)}
	if w.Port > 0 && w.Port <= math.MaxUint16 {
		h.Port = w.Port
	}
	pairs := wireLabels{}
	for _, a := range w.Attributes {
		pairs.Labels = append(pairs.Labels, mirror.Label{Key: a.Name, Value: attribute(&a)})
	}
	h.Attributes = l.labels(pairs)
	return h
}

// attribute is an attribute's value as Mesos writes it on its command line.
func attribute(a *wireAttribute) string {
	switch {
	case a.Text != nil:
		return a.Text.Value
	case a.Scalar != nil:
		return strconv.FormatFloat(a.Scalar.Value, 'f', -1, 64)
	case a.Ranges != nil:
		var parts []string
		for _, r := range a.Ranges.Range {
			parts = append(parts, strconv.FormatUint(r.Begin, 10)+"-"+strconv.FormatUint(r.End, 10))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case a.Set != nil:
		return "{" + strings.Join(a.Set.Item, ",") + "}"
	}
	return ""
}

func (l *limits) framework(w *wireFramework) events.Framework {
	f := events.Framework{
		ID:        w.Info.ID.Value,
		Name:      l.Text(w.Info.Name),
		Principal: l.Text(w.Info.Principal),
		Active:    w.Active,
		Connected: w.Connected,
		Since:     latest(w.Registered, w.Reregistered),
	}
	roles := w.Info.Roles
	if len(roles) == 0 {
		roles = []string{cmp.Or(w.Info.Role, anyRole)}
	}
	f.Roles = l.Names(roles)
	return f
}

func latest(a, b wireTime) time.Time {
	if n := max(a.Nanoseconds, b.Nanoseconds); n > 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// seconds is a status's timestamp, to the microsecond: JSON and protobuf agree
// on no more. What cannot be a time is none.
func seconds(s float64) time.Time {
	if !(s > 0 && s < 1<<33) { // also NaN; 1<<33 s is in the year 2242
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(s * 1e6))).UTC()
}
