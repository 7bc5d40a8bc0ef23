package main

import (
	"context"
	"errors"
	"testing"

	"github.com/taskwall/taskwall/events"
)

func TestFrameworksAreActiveAsTheLogSays(t *testing.T) {
	known := events.NewCluster()
	known.Frameworks["old"] = events.Framework{ID: "old", Active: true}
	known.Frameworks["idle"] = events.Framework{ID: "idle"}
	f := newFrameworks(known)
	var fails error
	sink := noting(func(context.Context, ...events.Event) error { return fails }, f.appended)
	put := func(id string, active bool) events.Event {
		return events.Event{Kind: events.FrameworkPut, Framework: &events.Framework{ID: id, Active: active}}
	}
	say := func(want map[string]bool) {
		t.Helper()
		for id, active := range want {
			if f.isActive(id) != active {
				t.Errorf("%s is active: %v", id, !active)
			}
		}
	}
	say(map[string]bool{"old": true, "idle": false, "new": false})
	if err := sink(t.Context(), put("new", true), put("idle", true), put("old", false)); err != nil {
		t.Fatal(err)
	}
	say(map[string]bool{"old": false, "idle": true, "new": true})
	if err := sink(t.Context(), events.Event{Kind: events.FrameworkGone, Gone: &events.Gone{Key: "new"}}); err != nil {
		t.Fatal(err)
	}
	fails = errors.New("the log is away")
	if err := sink(t.Context(), put("idle", false)); !errors.Is(err, fails) {
		t.Fatal(err)
	}
	say(map[string]bool{"idle": true, "new": false}) // what is not in the log has not happened
}
