package historytest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// host is a machine with a Mesos agent.
type host struct {
	name, address, rack string
	agent               string // Mesos agent id; "" while it is away
	generation          int
	drained             bool
}

// app is a Marathon app with its tasks.
type app struct {
	id, name string
	version  time.Time
	uses     []int // other apps
	port     int
	pod      bool
	tasks    []*task
	want     int
}

// task is a task, or the two of a pod, which share their executor.
type task struct {
	executor string
	ids      []string
	app      *app
	host     *host
	agent    string
	since    time.Time
}

// endpoint is the id of its network identity.
func (t *task) endpoint() string { return framework + "/" + t.executor }

var authors = []string{"ann@shop.example", "bo@shop.example", "cy@security.example"}

var groups = []string{"shop", "billing", "search", "data"}

// begin makes the cluster, its policies and its apps.
func (p *past) begin() error {
	say := func(evs ...events.Event) error {
		for _, ev := range evs {
			if err := p.say(ev); err != nil {
				return err
			}
		}
		return nil
	}
	if err := say(
		events.Event{Kind: events.TermBegin, Source: "controller", Term: &events.Term{Leader: "controller-1", Epoch: 1, Version: "1.4.0"}},
		events.Event{Kind: events.FrameworkPut, Source: "mesos", Framework: &events.Framework{
			ID: framework, Name: "marathon", Principal: "marathon", Roles: []string{"*"}, Active: true, Connected: true, Since: p.now}},
		events.Event{Kind: events.MarathonPut, Source: "marathon", Marathon: &events.Marathon{
			Framework: framework, Name: "marathon", Version: "1.11.24", Leader: "m1.example:8080"}},
	); err != nil {
		return err
	}
	for i := range p.o.Apps {
		name := fmt.Sprintf("app-%d", i)
		a := &app{id: "/" + groups[i%len(groups)] + "/" + name, name: name, port: 8000 + p.rnd.IntN(100), pod: i%4 == 3}
		for range p.rnd.IntN(3) {
			if u := p.rnd.IntN(p.o.Apps); u != i && !slices.Contains(a.uses, u) {
				a.uses = append(a.uses, u)
			}
		}
		p.apps = append(p.apps, a)
	}
	change := &events.PolicyChange{Author: authors[0], Commit: p.commit(), Message: "Begin"}
	change.Put = append(routing(), resource("IPPool", "tasks", map[string]any{"cidr": "10.0.0.0/9", "blockSize": 26}))
	for _, a := range p.apps {
		change.Put = append(change.Put, p.policy(a))
	}
	if err := p.say(events.Event{Kind: events.PolicyApply, Source: "policy", Policy: change}); err != nil {
		return err
	}
	base := netip.MustParseAddr("172.16.0.1").As4()
	for i := range p.o.Hosts {
		base[2], base[3] = byte(i/250), byte(i%250+1)
		h := &host{name: fmt.Sprintf("node-%d.dc1.example", i), address: netip.AddrFrom4(base).String(), rack: fmt.Sprint("r", i%3)}
		p.hosts = append(p.hosts, h)
		if err := p.register(h); err != nil {
			return err
		}
	}
	for _, a := range p.apps {
		a.want = 1 + p.rnd.IntN(2*p.o.Instances-1)
		if err := p.deploy(a, "StartApplication "+a.id, false); err != nil {
			return err
		}
	}
	return nil
}

func (p *past) commit() string {
	p.commits++
	return fmt.Sprintf("%040x", p.rnd.Uint64())
}

// annotate gives a resource annotations.
func annotate(r *events.Resource, annotations map[string]any) {
	var body map[string]any
	if err := json.Unmarshal(r.Body, &body); err != nil {
		panic(err) // resource made it
	}
	body["metadata"].(map[string]any)["annotations"] = annotations
	r.Body, _ = json.Marshal(body) //nolint:errchkjson // of maps, strings and numbers
}

func resource(kind, name string, spec map[string]any) events.Resource {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	})
	if err != nil {
		panic(err) // of maps, strings and numbers
	}
	return events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Name: name}, File: "policies/" + name + ".yaml", Line: 1, Body: body}
}

// policy lets those use the app that say so, and the app what it uses.
func (p *past) policy(a *app) events.Resource {
	egress := []any{}
	for _, u := range a.uses {
		egress = append(egress, map[string]any{"action": "Allow", "protocol": "TCP",
			"destination": map[string]any{"selector": fmt.Sprintf("app == '%s'", p.apps[u].name)}})
	}
	return resource("GlobalNetworkPolicy", a.name, map[string]any{
		"selector": fmt.Sprintf("app == '%s'", a.name), "types": []any{"Ingress", "Egress"},
		"ingress": []any{map[string]any{"action": "Allow", "protocol": "TCP",
			"source":      map[string]any{"selector": fmt.Sprintf("has(uses/%s)", a.name)},
			"destination": map[string]any{"ports": []any{a.port}}}},
		"egress": egress,
	})
}

// register lets a host's Mesos agent register, and its taskwall agent join.
func (p *past) register(h *host) error {
	h.generation++
	h.agent = fmt.Sprintf("agent-%s-%d", h.name, h.generation)
	if err := p.say(events.Event{Kind: events.HostPut, Source: "mesos", Host: &events.Host{
		Agent: h.agent, Name: h.name, Address: h.address, Port: 5051, Reachable: true, Since: p.now,
		Attributes: map[string]string{"rack": h.rack},
	}}); err != nil {
		return err
	}
	if err := p.join(h.name, h.address); err != nil {
		return err
	}
	return p.session(h, "established", "")
}

// something happens.
func (p *past) something() error {
	p.pass(p.o.Calm)
	a := p.apps[p.rnd.IntN(len(p.apps))]
	switch n := p.rnd.IntN(1000); {
	case n < 350:
		return p.deploy(a, "RestartApplication "+a.id, true)
	case n < 600:
		a.want = 1 + p.rnd.IntN(2*p.o.Instances-1)
		return p.deploy(a, "ScaleApplication "+a.id, false)
	case n < 800:
		return p.fail(a)
	case n < 850:
		return p.flap(a)
	case n < 900:
		return p.change(a)
	case n < 945:
		return p.see(a)
	case n < 970:
		return p.route(p.hosts[p.rnd.IntN(len(p.hosts))])
	case n < 990:
		return p.drain(p.hosts[p.rnd.IntN(len(p.hosts))])
	default:
		return p.lose(p.hosts[p.rnd.IntN(len(p.hosts))])
	}
}

// deploy brings an app to the number of tasks that it wants, anew or not.
func (p *past) deploy(a *app, action string, restart bool) error {
	a.version = p.now
	d := events.Deployment{ID: fmt.Sprintf("%016x-d", p.rnd.Uint64()), Version: a.version.Format(time.RFC3339Nano), State: "running",
		Apps: []string{a.id}, Actions: []string{action}}
	running := d
	if err := p.say(events.Event{Kind: events.DeploymentPut, Source: "marathon", Deployment: &running}); err != nil {
		return err
	}
	if err := p.say(events.Event{Kind: events.AppPut, Source: "marathon", App: &events.App{
		ID: a.id, Version: d.Version, Pod: a.pod, Instances: a.want, Labels: p.labels(a), Networks: []string{"taskwall"},
		Ports: []events.Port{{Name: "http", Number: a.port, Protocol: "tcp"}},
	}}); err != nil {
		return err
	}
	old := len(a.tasks)
	if !restart {
		old = max(0, len(a.tasks)-a.want)
	}
	for len(a.tasks)-old < a.want || old > 0 {
		if len(a.tasks)-old < a.want {
			if err := p.start(a); err != nil {
				return err
			}
		}
		if old > 0 {
			if err := p.stop(a.tasks[0], "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH"); err != nil {
				return err
			}
			old--
		}
	}
	d.State = "succeeded"
	return p.say(events.Event{Kind: events.DeploymentPut, Source: "marathon", Deployment: &d})
}

func (p *past) labels(a *app) map[string]string {
	labels := map[string]string{"app": a.name, "team": groups[len(a.uses)], "taskwall.environment": "production", "owner": authors[len(a.name)%3]}
	uses := ""
	for _, u := range a.uses {
		uses += "," + p.apps[u].name
	}
	if uses != "" {
		labels["taskwall.uses"] = uses[1:]
	}
	return labels
}

// put says a task's state, and that of the other one of a pod.
func (p *past) put(t *task, state string, healthy *bool, reason string) error {
	for i, id := range t.ids {
		ev := events.Task{
			Framework: framework, ID: id, Name: t.app.name, Executor: t.executor, Agent: t.agent, State: state, Role: "*",
			Labels: p.labels(t.app), Containerizer: "mesos", Networks: []events.Network{{Name: "taskwall"}},
			Healthy: healthy, Reason: reason, Since: p.now,
		}
		if i == 0 { // its other container is a helper
			ev.Ports = []events.Port{{Name: "http", Number: t.app.port, Protocol: "tcp"}}
		}
		if t.app.pod {
			ev.Labels, ev.ExecutorLabels = nil, ev.Labels
		}
		if state != "TASK_STAGING" {
			ev.Container = "c-" + t.executor[len(t.executor)-12:]
			if t.app.pod {
				ev.Container += "." + fmt.Sprint(i)
			}
		}
		if err := p.say(events.Event{Kind: events.TaskPut, Source: "mesos", Task: &ev}); err != nil {
			return err
		}
	}
	return nil
}

// gone says that the master forgets a task.
func (p *past) gone(t *task, reason string) error {
	for _, id := range t.ids {
		if err := p.say(events.Event{Kind: events.TaskGone, Source: "mesos", Gone: &events.Gone{Key: events.TaskKey(framework, id), Reason: reason}}); err != nil {
			return err
		}
	}
	return nil
}

var yes, no = true, false

func (p *past) start(a *app) error {
	h := p.hosts[p.rnd.IntN(len(p.hosts))]
	for h.agent == "" {
		h = p.hosts[p.rnd.IntN(len(p.hosts))]
	}
	safe := a.id[1:len(a.id)-len(a.name)-1] + "_" + a.name
	uuid := fmt.Sprintf("%08x-%04x-11ef-%04x-%012x", p.rnd.Uint32(), p.rnd.IntN(1<<16), p.rnd.IntN(1<<16), p.rnd.Uint64()>>16)
	t := &task{app: a, host: h, agent: h.agent, since: p.now}
	if a.pod { // CLUSTER-API 2.3
		t.executor, t.ids = "instance-"+safe+"."+uuid, []string{safe + ".instance-" + uuid + ".main.1", safe + ".instance-" + uuid + ".helper.1"}
	} else {
		t.executor = safe + ".instance-" + uuid + "._app.1"
		t.ids = []string{t.executor}
	}
	a.tasks = append(a.tasks, t)
	for _, step := range []func() error{
		func() error { return p.put(t, "TASK_STAGING", nil, "") },
		func() error { return p.put(t, "TASK_STARTING", nil, "") },
		func() error { return p.wired(t, events.Attached) },
		func() error { return p.put(t, "TASK_RUNNING", nil, "") },
		func() error { return p.put(t, "TASK_RUNNING", &yes, "") },
	} {
		p.pass(2 * time.Second)
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p *past) stop(t *task, state, reason string) error {
	t.app.tasks = slices.DeleteFunc(t.app.tasks, func(x *task) bool { return x == t })
	for _, step := range []func() error{
		func() error {
			if state != "TASK_KILLED" {
				return nil
			}
			return p.put(t, "TASK_KILLING", &yes, "")
		},
		func() error { return p.put(t, state, nil, reason) },
		func() error { return p.wired(t, events.Detached) },
		func() error { return p.gone(t, "completed") },
	} {
		p.pass(2 * time.Second)
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// fail lets a task fail; Marathon starts another.
func (p *past) fail(a *app) error {
	if len(a.tasks) == 0 {
		return nil
	}
	if err := p.stop(a.tasks[p.rnd.IntN(len(a.tasks))], "TASK_FAILED", "REASON_COMMAND_EXECUTOR_FAILED"); err != nil {
		return err
	}
	return p.start(a)
}

// flap changes the health of a task for a while.
func (p *past) flap(a *app) error {
	if len(a.tasks) == 0 {
		return nil
	}
	t := a.tasks[p.rnd.IntN(len(a.tasks))]
	if err := p.put(t, "TASK_RUNNING", &no, "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"); err != nil {
		return err
	}
	p.pass(time.Minute)
	return p.put(t, "TASK_RUNNING", &yes, "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
}

// change applies a reviewed change of an app's policy.
func (p *past) change(a *app) error {
	a.port = 8000 + p.rnd.IntN(100)
	if u := p.rnd.IntN(len(p.apps)); len(a.uses) > 0 && p.apps[u] != a {
		a.uses = []int{u}
	}
	return p.say(events.Event{Kind: events.PolicyApply, Source: "policy", Policy: &events.PolicyChange{
		Author: authors[p.rnd.IntN(len(authors))], Commit: p.commit(), Message: fmt.Sprintf("Let %s be reached on %d", a.name, a.port),
		Put: []events.Resource{p.policy(a)},
	}})
}

// see lets a host report what it saw: refused packets, or drift.
func (p *past) see(a *app) error {
	if len(a.tasks) == 0 {
		return nil
	}
	t := a.tasks[p.rnd.IntN(len(a.tasks))]
	r := work.Report{Drift: &work.Drift{What: "iptables filter: 1 rule of tw-in missing"}}
	if p.rnd.IntN(5) > 0 {
		r = work.Report{Logged: &work.Logged{Action: work.Deny, Direction: "ingress", Policy: "GlobalNetworkPolicy " + a.name, Index: -1,
			Source: netip.AddrFrom4([4]byte{10, 1, byte(p.rnd.IntN(200)), byte(p.rnd.IntN(200))}), Dest: netip.AddrFrom4([4]byte{10, 0, 0, 7}),
			Protocol: 6, Port: 22, DestTask: t.endpoint(), Count: 1 + p.rnd.IntN(9)}}
	}
	_, err := p.report(t.host.name, r)
	return err
}

// lose takes a host away with all of its tasks, and lets it come back.
func (p *past) lose(h *host) error {
	if h.agent == "" || len(p.hosts) == 1 {
		return nil
	}
	agent := h.agent
	h.agent = ""
	if err := p.say(events.Event{Kind: events.HostPut, Source: "mesos", Host: &events.Host{
		Agent: agent, Name: h.name, Address: h.address, Port: 5051, Reachable: false, Since: p.now,
		Attributes: map[string]string{"rack": h.rack},
	}}); err != nil {
		return err
	}
	p.pass(10 * time.Minute)
	if err := p.say(events.Event{Kind: events.HostGone, Source: "mesos", Gone: &events.Gone{Key: agent, Reason: "unreachable for too long"}}); err != nil {
		return err
	}
	for _, a := range p.apps {
		for _, t := range slices.Clone(a.tasks) {
			if t.agent != agent {
				continue
			}
			a.tasks = slices.DeleteFunc(a.tasks, func(x *task) bool { return x == t })
			if err := p.gone(t, "its agent is gone"); err != nil {
				return err
			}
			if err := p.start(a); err != nil {
				return err
			}
		}
	}
	p.pass(time.Hour)
	return p.register(h)
}
