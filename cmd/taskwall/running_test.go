package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
)

func TestAppsRunAsLongAsTheirTasks(t *testing.T) {
	const uuid = ".instance-e9a5b7d2-5a6c-11ee-8c99-0242ac120002"
	task := func(id, executor, state string) events.Task {
		return events.Task{Framework: "fw", ID: id, Executor: executor, State: state}
	}
	put := func(id, state string) events.Event {
		task := task(id, id, state)
		return events.Event{Kind: events.TaskPut, Task: &task}
	}
	web1, web2, job := "shop_web"+uuid+"._app.1", "shop_web"+uuid+"._app.2", "job"+uuid+"._app.1"
	known := events.NewCluster()
	for _, k := range []events.Task{
		task(web1, web1, "TASK_RUNNING"), task(job, job, "TASK_STAGING"), task("driver-1", "driver-1", "TASK_RUNNING"),
		task("c", "instance-shop_db.e9a5b7d2-5a6c-11ee-8c99-0242ac120002", "TASK_RUNNING"),
	} {
		known.Tasks[k.Key()] = k
	}
	r := newRunning(known)
	var fails error
	sink := noting(func(context.Context, ...events.Event) error { return fails }, r.appended)
	for i, step := range []struct {
		evs  []events.Event
		want []string
	}{
		{nil, []string{"/shop/db", "/shop/web"}},
		{[]events.Event{put(web2, "TASK_RUNNING"), put(web2, "TASK_RUNNING"), put(job, "TASK_RUNNING")}, []string{"/job", "/shop/db", "/shop/web"}},
		{[]events.Event{put(web1, "TASK_KILLING"), put(job, "TASK_UNREACHABLE")}, []string{"/shop/db", "/shop/web"}},
		{[]events.Event{{Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/" + web2}}, put(job, "TASK_FINISHED")}, []string{"/shop/db"}},
		{[]events.Event{{Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/c"}}, {Kind: events.TaskGone, Gone: &events.Gone{Key: "fw/x"}}}, nil},
	} {
		if err := sink(t.Context(), step.evs...); err != nil {
			t.Fatal(err)
		}
		got := r.of("fw")
		slices.Sort(got)
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("step %d: (-want +got)\n%s", i, d)
		}
	}
	fails = errors.New("the log is away")
	if err := sink(t.Context(), put(web1, "TASK_RUNNING")); !errors.Is(err, fails) || len(r.of("fw")) > 0 || len(r.apps) > 0 {
		t.Errorf("what is not in the log has not happened: %v, %v", err, r.apps)
	}
}
