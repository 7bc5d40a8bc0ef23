package scheduler

import (
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
)

// endpoint is one network identity: a task, or the tasks of one pod, on one
// network.
type endpoint struct {
	id      string
	host    *host
	agent   string // Mesos agent id
	network string
	docker  bool // attached by its process, not by CNI
	app     string
	task    string // the first task's id, for people
	labels  map[string]string
	env     string
	ports   []events.Port

	// What follows depends on the past, not on the tasks alone.
	address netip.Addr
	refused string             // why it has no address
	wiring  events.WiringState // what its host said last; "" before that
	wired   time.Time          // when it was last attached
	failure string             // of the last attach, if it failed

	evaluated uint64 // the entry that did so last; 0: not since the state was restored
}

// derive says what the tasks of one executor make of their endpoints: one for
// each of our networks that they asked for, none when no task lives or the agent
// is not known (yet). Tasks come in the order of their keys. Those on different
// hosts are of different executors with one id.
func (s *State) derive(id string, tasks []events.Task) []*endpoint {
	slices.SortStableFunc(tasks, func(a, b events.Task) int { // its endpoints are named after those that share them
		switch of := isOf(&a, id); {
		case of == isOf(&b, id):
			return 0
		case of:
			return -1
		}
		return 1
	})
	var hosts []string
	for i := range tasks {
		if name := s.cluster.HostName(tasks[i].Agent); name != "" && !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	var es []*endpoint
	first := s.firstHost(id, hosts)
	for _, name := range hosts {
		es = append(es, s.deriveOn(name, id, s.tasksOn(name, tasks), name == first)...)
	}
	return es
}

// tasksOn are those of the tasks that are on a host, on which one of them is.
func (s *State) tasksOn(name string, tasks []events.Task) (on []events.Task) {
	if len(tasks) == 1 {
		return tasks
	}
	for i := range tasks {
		if s.cluster.HostName(tasks[i].Agent) == name {
			on = append(on, tasks[i])
		}
	}
	return on
}

// firstHost is the one of an executor's hosts whose endpoints are named like the
// executor alone. An endpoint keeps its name for as long as it lives.
func (s *State) firstHost(id string, hosts []string) string {
	if len(hosts) <= 1 && len(s.byExecutor[id]) == 0 {
		return strings.Join(hosts, "")
	}
	named := map[string]bool{}
	for _, had := range s.byExecutor[id] {
		host := s.endpoints[had].host.name
		if !work.NamesHost(had) && slices.Contains(hosts, host) {
			return host
		}
		named[host] = named[host] || work.NamesHost(had)
	}
	for _, name := range hosts {
		if !named[name] {
			return name
		}
	}
	return ""
}

// deriveOn is derive for the tasks on one host.
func (s *State) deriveOn(name, id string, tasks []events.Task, first bool) []*endpoint {
	var es []*endpoint
	var ports []events.Port
	for i := range tasks {
		t := &tasks[i]
		own := isOf(t, id)
		networks := s.networksOf(t, own)
		if len(networks) == 0 {
			continue
		}
		for _, n := range networks {
			if slices.ContainsFunc(es, func(e *endpoint) bool { return e.network == n }) {
				continue
			}
			called := work.EndpointID(id, n, len(es))
			if !first {
				called = work.EndpointAt(name, id, n, len(es))
			}
			es = append(es, &endpoint{
				id: called, host: s.host(name), agent: t.Agent,
				network: n, docker: t.Containerizer == docker, task: t.ID,
			})
		}
		if own {
			ports = append(ports, t.Ports...)
		}
	}
	for _, e := range es {
		e.ports, e.labels = ports, claims(tasks, id)
		e.env = e.labels[s.settings.EnvironmentLabel]
		s.addFacts(e, &tasks[0])
	}
	return es
}

// docker is the containerizer whose containers never meet CNI (CLUSTER-API 5.4).
const docker = "docker"

// networkLabel is how a task of the Docker containerizer asks for one of our
// networks: it runs on Docker's network "none", and Mesos knows no other word.
const networkLabel = "taskwall.network"

// isOf reports whether a task's traffic is that of an executor's endpoints, or
// of its own: one that is nested keeps its executor alive, and speaks for itself.
func isOf(t *events.Task, holder string) bool { return !t.Nested || t.Endpoint() == holder }

// networksOf are our networks that the task asked for, or else its executor, in
// their order.
func (s *State) networksOf(t *events.Task, own bool) (ours []string) {
	if t.Containerizer == docker {
		if n := t.Labels[networkLabel]; slices.Contains(s.settings.Networks, n) {
			ours = append(ours, n)
		}
		return ours
	}
	networks := t.Networks
	if !own {
		networks = t.ExecutorNetworks
	}
	for _, n := range networks {
		if slices.Contains(s.settings.Networks, n.Name) {
			ours = append(ours, n.Name)
		}
	}
	return ours
}

// claims are the labels that the tasks' owners wrote: the executor's, and
// those of its tasks on which the tasks agree. Where tasks of one pod differ,
// the label is nobody's: a policy must not see one task's claim on another's
// traffic. "taskwall.uses" is spelled out, one label a use.
func claims(tasks []events.Task, holder string) map[string]string {
	labels := make(map[string]string, len(tasks[0].Labels)+len(tasks[0].ExecutorLabels)+manyFacts)
	differ := map[string]bool{}
	for i := range tasks {
		if !isOf(&tasks[i], holder) {
			continue
		}
		for k, v := range tasks[i].Labels {
			if old, seen := labels[k]; seen && old != v {
				differ[k] = true
			}
			labels[k] = v
		}
	}
	for k := range differ {
		delete(labels, k)
	}
	for i := range tasks {
		maps.Copy(labels, tasks[i].ExecutorLabels)
	}
	for use := range strings.SplitSeq(labels["taskwall.uses"], ",") {
		if use = strings.TrimSpace(use); use != "" {
			labels["uses/"+use] = ""
		}
	}
	maps.DeleteFunc(labels, func(k, _ string) bool { return strings.HasPrefix(k, factPrefix) })
	return labels
}

// factPrefix marks the labels that only the cluster can give; manyFacts is how
// many there may be without attributes, and some uses.
const (
	factPrefix = "taskwall/"
	manyFacts  = 8
)

// addFacts adds what the cluster itself says about the endpoint. Only the
// framework that Marathon says is its own may name Marathon's apps: another's
// tasks are named after the framework, with a colon, which no app path has.
func (s *State) addFacts(e *endpoint, t *events.Task) {
	fw := s.cluster.Frameworks[t.Framework]
	name := fw.Name
	if name == "" {
		name = t.Framework
	}
	if m := s.cluster.Marathon; m != nil && m.Framework == t.Framework {
		e.app = t.App()
	}
	if e.app != "" {
		e.labels[factPrefix+"group"] = path.Dir(e.app)
	} else {
		e.app = name + ":" + t.Name
	}
	e.labels[factPrefix+"app"] = e.app
	e.labels[factPrefix+"framework"] = name
	e.labels[factPrefix+"host"] = e.host.name
	if t.Role != "" {
		e.labels[factPrefix+"role"] = t.Role
	}
	for k, v := range s.cluster.Hosts[e.agent].Attributes {
		e.labels[factPrefix+"host/"+k] = v
	}
}

// resolved is the endpoint as the resolver needs it.
func (e *endpoint) resolved() policy.Endpoint {
	return policy.Endpoint{ID: e.id, Labels: e.labels, Environment: e.env, Address: e.address, Ports: e.ports}
}

// told is the endpoint as its host is told.
func (e *endpoint) told(posture string) work.Endpoint {
	return work.Endpoint{
		ID: e.id, Network: e.network, Docker: e.docker, Address: e.address, Posture: posture,
		Refused: e.refused, App: e.app, Task: e.task,
	}
}
