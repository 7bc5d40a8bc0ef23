package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/policy/diff"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// dryRun is what a change of policies would do.
type dryRun struct {
	events.PolicyChange
	Flows *diff.Report `json:"flows"` // between what runs now
}

// preview compares the flows between the endpoints that run now before and
// after a change. A change that could not be applied is an error.
func preview(ctx context.Context, conn *bus.Conn, inForce controller.Policy, change events.PolicyChange) (*diff.Report, error) {
	endpoints, err := liveEndpoints(ctx, conn)
	if err != nil {
		return nil, err
	}
	before, err := explain.New(inForce.Resources, endpoints, inForce.Commits)
	if err != nil {
		return nil, fmt.Errorf("the policies in force: %w", err)
	}
	after, err := explain.New(changed(inForce.Resources, change), endpoints, nil)
	if err != nil {
		return nil, err
	}
	return diff.Compare(ctx, before, after)
}

// changed is what a change makes of a list of resources.
func changed(resources []events.Resource, change events.PolicyChange) []events.Resource {
	touched := map[events.ResourceKey]bool{}
	for _, k := range change.Delete {
		touched[k] = true
	}
	for _, r := range change.Put {
		touched[r.ResourceKey] = true
	}
	kept := slices.DeleteFunc(slices.Clone(resources), func(r events.Resource) bool { return touched[r.ResourceKey] })
	return append(kept, change.Put...)
}

func printDryRun(w io.Writer, asJSON bool, d dryRun) error {
	if asJSON {
		return printJSON(w, d)
	}
	if len(d.Put)+len(d.Delete) == 0 {
		fmt.Fprintln(w, "Nothing to change: the policies in force are those of the directory.")
		return nil
	}
	for _, r := range d.Put {
		fmt.Fprintln(w, "would put", r)
	}
	for _, k := range d.Delete {
		fmt.Fprintln(w, "would delete", k)
	}
	fmt.Fprintln(w)
	return d.Flows.WriteText(w)
}
