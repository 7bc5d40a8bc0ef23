package timeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler"
)

// prepare looks at the state before an event, and returns what tells it after.
func (t *Teller) prepare(ev events.Event) (tell func()) {
	switch ev.Kind {
	case events.TaskPut:
		old, had := t.state.Task(ev.Task.Key())
		before, _ := t.state.Endpoint(ev.Task.Endpoint())
		return func() { t.task(ev.Task, &old, had, &before) }
	case events.TaskGone:
		old, had := t.state.Task(ev.Gone.Key)
		before, _ := t.state.Endpoint(old.Endpoint())
		if had && !events.Terminal(old.State) && t.concerns(&old, &before) {
			return func() { t.say("gone", t.placed(&old, &before), join("Mesos no longer knows the task", ev.Gone.Reason)) }
		}
	case events.HostPut:
		old, had := t.state.Host(ev.Host.Agent)
		return func() { t.host(ev.Host, &old, had) }
	case events.HostGone:
		old, _ := t.state.Host(ev.Gone.Key)
		if t.on(old.Name) {
			return func() {
				t.say("host gone", &scheduler.EndpointView{Host: old.Name}, join("Mesos agent "+ev.Gone.Key+" left for good", ev.Gone.Reason))
			}
		}
	case events.AppPut:
		old, had := t.state.App(ev.App.ID)
		if t.apps[ev.App.ID] {
			return func() { t.app(ev.App, &old, had) }
		}
	case events.AppGone:
		if t.apps[ev.Gone.Key] {
			return func() {
				t.say("app gone", &scheduler.EndpointView{App: ev.Gone.Key}, join("removed from Marathon", ev.Gone.Reason))
			}
		}
	case events.DeploymentPut:
		return func() { t.deployment(ev.Deployment) }
	case events.PolicyApply:
		return t.policy(ev.Policy)
	case events.AgentJoin:
		if ev.Join.Host == t.subject.Host && t.fresh(ev.Join.Report) {
			return func() {
				t.say("agent", &scheduler.EndpointView{Host: ev.Join.Host}, join("taskwall agent "+ev.Join.Version+" asked for all its work", ev.Join.Reason))
			}
		}
	case events.EndpointState:
		return t.wiring(ev.Wiring)
	case events.BGPSession, events.BGPRefused, events.HostDrain:
		return t.routing(ev)
	}
	return func() {}
}

// fresh reports whether the log takes in a host's report for the first time.
func (t *Teller) fresh(report uint64) bool {
	if report != 0 && report <= t.reports {
		return false
	}
	t.reports = max(t.reports, report)
	return true
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// concerns reports whether a task is the subject's, whether or not it is on a
// network of ours.
func (t *Teller) concerns(task *events.Task, e *scheduler.EndpointView) bool {
	if _, known := t.mine[task.Endpoint()]; known || t.is(e) {
		return true
	}
	switch s := &t.subject; {
	case s.App != "":
		m := t.state.Marathon()
		return m != nil && m.Framework == task.Framework && task.App() == s.App
	case s.Task != "":
		return task.ID == s.Task || task.Executor == s.Task
	case s.Host != "":
		h, _ := t.state.Host(task.Agent)
		return h.Name == s.Host
	}
	return false
}

// placed is the endpoint as a task's event names it: by that very task.
func (t *Teller) placed(task *events.Task, e *scheduler.EndpointView) *scheduler.EndpointView {
	p := scheduler.EndpointView{App: e.App, Task: task.ID, Host: e.Host}
	if p.App == "" {
		p.App = t.mine[task.Endpoint()].App
	}
	if h, known := t.state.Host(task.Agent); known {
		p.Host = h.Name
	}
	return &p
}

var taskKinds = map[string]string{
	"TASK_STAGING": "staged", "TASK_GONE_BY_OPERATOR": "gone", "TASK_DROPPED": "dropped",
}

func (t *Teller) task(now, old *events.Task, had bool, before *scheduler.EndpointView) {
	after, exists := t.state.Endpoint(now.Endpoint())
	if !exists {
		after = *before
	}
	if !t.concerns(now, &after) {
		return
	}
	at := t.placed(now, &after)
	if !had || old.State != now.State {
		kind := taskKinds[now.State]
		if kind == "" {
			kind = strings.ToLower(strings.TrimPrefix(now.State, "TASK_"))
		}
		text := "on " + at.Host
		switch {
		case !had && exists && after.Environment != "":
			text += ", environment " + after.Environment
		case !had && !exists && !events.Terminal(now.State):
			text += ", on no network of Taskwall"
		}
		if reason := strings.TrimPrefix(now.Reason, "REASON_"); reason != "" {
			text += ", " + strings.ToLower(strings.ReplaceAll(reason, "_", " "))
		}
		t.say(kind, at, join(text, now.Message))
	}
	if had && (!maps.Equal(old.Labels, now.Labels) || !maps.Equal(old.ExecutorLabels, now.ExecutorLabels)) {
		t.say("relabelled", at, strings.Join(append(labelChanges(old.Labels, now.Labels), labelChanges(old.ExecutorLabels, now.ExecutorLabels)...), ", "))
	}
	if now.Healthy != nil && (!had || old.Healthy == nil || *old.Healthy != *now.Healthy) && (had || !*now.Healthy) {
		kind := map[bool]string{true: "healthy", false: "unhealthy"}[*now.Healthy]
		t.say(kind, at, "on "+at.Host)
	}
}

// labelChanges says what differs, sorted by label.
func labelChanges(old, now map[string]string) []string {
	all := maps.Clone(old)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, now)
	var list []string
	for _, k := range events.SortedKeys(all) {
		was, had := old[k]
		is, has := now[k]
		switch {
		case had && !has:
			list = append(list, fmt.Sprintf("%s: %q removed", k, was))
		case has && !had:
			list = append(list, fmt.Sprintf("%s: %q added", k, is))
		case was != is:
			list = append(list, fmt.Sprintf("%s: %q, was %q", k, is, was))
		}
	}
	return list
}

// on reports whether a host's fate is the subject's.
func (t *Teller) on(host string) bool {
	if host == "" || host == t.subject.Host {
		return host != ""
	}
	for id, e := range t.mine {
		if e.Host == host && !t.ended[id] {
			return true
		}
	}
	return false
}

func (t *Teller) host(now, old *events.Host, had bool) {
	at := &scheduler.EndpointView{Host: now.Name}
	switch {
	case !t.on(now.Name):
	case had && old.Reachable && !now.Reachable:
		t.say("host lost", at, "Mesos no longer hears from it; its tasks keep their addresses")
	case had && !old.Reachable && now.Reachable:
		t.say("host returned", at, "Mesos hears from it again")
	case now.Name != t.subject.Host:
	case !had:
		t.say("host joined", at, join("Mesos agent "+now.Agent, now.Address))
	case !maps.Equal(old.Attributes, now.Attributes):
		t.say("relabelled", at, "attributes: "+strings.Join(labelChanges(old.Attributes, now.Attributes), ", "))
	}
}

func (t *Teller) app(now, old *events.App, had bool) {
	at := &scheduler.EndpointView{App: now.ID}
	instances := fmt.Sprintf("%d instances", now.Instances)
	if now.Instances == 1 {
		instances = "1 instance"
	}
	switch {
	case !had || old.Version != now.Version:
		text := fmt.Sprintf("version %s, %s", now.Version, instances)
		if labels := labelChanges(old.Labels, now.Labels); had && len(labels) > 0 {
			text += "; labels " + strings.Join(labels, ", ")
		}
		t.say("version", at, text)
	case old.Instances != now.Instances:
		t.say("scaled", at, fmt.Sprintf("%s, were %d", instances, old.Instances))
	}
}

func (t *Teller) deployment(d *events.Deployment) {
	app := ""
	for _, a := range d.Apps {
		if t.apps[a] {
			app = a
		}
	}
	if app == "" {
		return
	}
	var actions []string
	for _, a := range d.Actions {
		if _, of, _ := strings.Cut(a, " "); of == app || of == "" {
			actions = append(actions, a)
		}
	}
	text := "deployment " + d.ID
	if d.Version != "" {
		text += " of version " + d.Version
	}
	text += " " + d.State
	if d.Client != "" {
		text += ", asked for by " + d.Client
	}
	text = join(text, strings.Join(actions, ", "), d.Reason)
	if t.steps[d.ID] == text {
		return
	}
	if t.steps[d.ID] = text; d.State != "running" {
		delete(t.steps, d.ID)
	}
	t.say("deployed", &scheduler.EndpointView{App: app}, text)
}

func (t *Teller) wiring(w *events.Wiring) (tell func()) {
	e, known := t.mine[w.Endpoint]
	if !known && w.Host == t.subject.Host {
		e, known = scheduler.EndpointView{ID: w.Endpoint, Host: w.Host, Task: taskOf(w.Endpoint)}, true
	}
	if !known || e.Host != "" && e.Host != w.Host || !t.fresh(w.Report) {
		return func() {}
	}
	before, live := t.state.Endpoint(w.Endpoint)
	return func() {
		var ev *Event
		switch w.State {
		case events.Attached:
			if live && before.Wiring == events.Attached && w.Took == 0 {
				return // said again
			}
			text := "on " + w.Host
			if w.Took > 0 {
				text += " in " + short(w.Took)
			}
			ev = t.say("wired", &e, text)
		case events.Failed:
			ev = t.say("not wired", &e, join("on "+w.Host, w.Error))
		case events.Detached:
			text := "on " + w.Host
			if e.Address.IsValid() && t.ended[w.Endpoint] {
				if holder, held := t.state.Holder(e.Address); !held || holder != w.Endpoint {
					text += ", " + e.Address.String() + " is released"
				}
				delete(t.mine, w.Endpoint)
				delete(t.ended, w.Endpoint)
			}
			ev = t.say("unwired", &e, text)
		default:
			return
		}
		ev.Took = w.Took
	}
}

// routing tells what the subject, a host, says of its BGP peers, and what an
// operator says of its routes.
func (t *Teller) routing(ev events.Event) (tell func()) {
	var host, kind, text string
	var report uint64
	switch ev.Kind {
	case events.BGPSession:
		s := ev.Session
		host, report, kind = s.Host, s.Report, "bgp"
		text = fmt.Sprintf("session with %s (%s) %s", s.Peer, s.Address, s.State)
		if s.State == "established" {
			text += fmt.Sprintf(", %d of %d prefixes accepted, %d sent", s.Accepted, s.Received, s.Sent)
		}
		if s.Flaps > 1 {
			text += fmt.Sprintf(", %d changes since the last report", s.Flaps)
		}
		text = join(text, s.Error)
	case events.BGPRefused:
		r := ev.Refused
		host, report, kind = r.Host, r.Report, "bgp refused"
		text = join(fmt.Sprintf("%s from %s, %d times", r.Prefix, r.Peer, r.Count), r.Reason)
	case events.HostDrain:
		d := ev.Drain
		host, kind, text = d.Host, "drained", "traffic is taken off it, by "+d.By
		if !d.On {
			kind, text = "in use", "it is used again, by "+d.By
		}
		text = join(text, d.Reason)
	}
	if host == "" || host != t.subject.Host || !t.fresh(report) {
		return func() {}
	}
	return func() { t.say(kind, &scheduler.EndpointView{Host: host}, text) }
}

// taskOf is the task or executor id of an endpoint's id.
func taskOf(endpoint string) string {
	_, executor, _ := strings.Cut(endpoint, "/")
	return executor
}
