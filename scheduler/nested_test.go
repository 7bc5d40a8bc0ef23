package scheduler

import (
	"slices"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// nested is a task of a pod on h1 that has a network of its own.
func nested(id, app string, executor ...events.Network) *events.Task {
	t := task(id, "h1", "TASK_STAGING", "app="+app)
	t.Executor, t.Nested, t.ExecutorNetworks = "pod", true, executor
	t.ExecutorLabels = map[string]string{"pod": "yes"}
	return t
}

func (w *world) put(t *events.Task) map[string]*work.Item {
	w.t.Helper()
	return w.say(events.Event{Kind: events.TaskPut, Task: t})
}

func (w *world) ids() []string {
	return events.SortedKeys(w.state.endpoints)
}

// A pod's task with a network of its own has an address and labels of its own,
// from staging on, beside those that its executor's other tasks share.
func TestNestedTasksHaveEndpointsOfTheirOwn(t *testing.T) {
	w := threeHosts(t)
	w.apply(webToDB, dbFromWeb)
	shared := task("shared", "h1", "TASK_STAGING", "app=web")
	shared.Executor = "pod"
	w.put(shared)
	w.put(nested("own", "db", shared.Networks...))

	if ids := w.ids(); !slices.Equal(ids, []string{"fw/pod", `fw/pod\own`}) {
		t.Fatalf("the endpoints are %q", ids)
	}
	pod, own := w.state.endpoints["fw/pod"], w.state.endpoints[`fw/pod\own`]
	if !pod.address.IsValid() || !own.address.IsValid() || pod.address == own.address {
		t.Errorf("the addresses are %v and %v", pod.address, own.address)
	}
	if pod.labels["app"] != "web" || own.labels["app"] != "db" || own.labels["pod"] != "yes" || pod.task != "shared" || own.task != "own" {
		t.Errorf("%s has %v, %s has %v", pod.task, pod.labels, own.task, own.labels)
	}
	if a, b := w.state.resolver.Posture(pod.id), w.state.resolver.Posture(own.id); a == "" || b == "" || a == b {
		t.Errorf("the postures are %q and %q", a, b)
	}

	// The end of the one is not the other's.
	w.say(events.Event{Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/shared"}})
	if ids := w.ids(); !slices.Equal(ids, []string{"fw/pod", `fw/pod\own`}) {
		t.Fatalf("the executor lives on with one task, its endpoints are %q", ids)
	}
	if e := w.state.endpoints["fw/pod"]; e.labels["app"] != "" || e.labels["pod"] != "yes" || e.address != pod.address {
		t.Errorf("of an executor whose tasks all have their own network: %+v", e)
	}
	w.say(events.Event{Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/own"}})
	if ids := w.ids(); len(ids) > 0 {
		t.Errorf("after the last task there are %q", ids)
	}
}

func TestNestedTasksOfAnExecutorOnTheHostNetwork(t *testing.T) {
	w := threeHosts(t)
	w.put(nested("a", "web"))
	w.put(nested("b", "db"))
	if ids := w.ids(); !slices.Equal(ids, []string{`fw/pod\a`, `fw/pod\b`}) {
		t.Fatalf("the endpoints are %q", ids)
	}
	ended := nested("a", "web")
	ended.State = "TASK_FINISHED"
	w.put(ended)
	if ids := w.ids(); !slices.Equal(ids, []string{`fw/pod\b`}) {
		t.Errorf("after the end of one the endpoints are %q", ids)
	}
}

// What a source learns late: that a task which seemed to share its executor's
// network has its own.
func TestTaskTurnsOutToBeNested(t *testing.T) {
	w := threeHosts(t)
	first := nested("a", "web")
	first.Nested = false
	w.put(first)
	if ids := w.ids(); !slices.Equal(ids, []string{"fw/pod"}) {
		t.Fatalf("the endpoints are %q", ids)
	}
	w.put(nested("a", "web"))
	if ids := w.ids(); !slices.Equal(ids, []string{`fw/pod\a`}) {
		t.Errorf("the endpoints are %q", ids)
	}
	v, known := w.state.Endpoint(`fw/pod\a`)
	if !known || v.State != "TASK_STAGING" || v.Task != "a" {
		t.Errorf("shown as %+v", v)
	}
}
