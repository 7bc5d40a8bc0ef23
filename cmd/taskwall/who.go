package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func whoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "who NAME",
		Short: "Say who has an address now, or where an app's tasks are",
		Long: `Ask the controller who has an address now, or which tasks a name stands for: their
app, host, address, state, labels and the policies that apply to them.

What NAME is: ` + explain.FindHelp + `.
For the past see 'taskwall audit who'. Exit status 1 when nobody has it.`,
		Example: `  taskwall who 10.8.3.17
  taskwall who /shop/web
  taskwall who label:tier=front -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			conn, err := connect(cmd, "taskwall who")
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			st, err := controller.Call[controller.Status](ctx, conn, controller.SubjectStatus, struct{}{})
			if err != nil {
				return err
			}
			inForce, err := controller.Call[controller.Policy](ctx, conn, controller.SubjectPolicy, struct{}{})
			if err != nil {
				return err
			}
			w, err := explain.New(inForce.Resources, policyEndpoints(st.Endpoints), inForce.Commits)
			if err != nil {
				return err
			}
			for _, e := range st.Endpoints {
				w.NameTask(e.Task, e.ID)
			}
			found, err := w.Find(args[0])
			if err != nil && (!asJSON || errors.Is(err, explain.ErrAmbiguous)) { // there it is an empty list
				return refused{err}
			}
			views := viewsOf(st.Endpoints, found)
			return reply(cmd, asJSON, views, len(views) == 0, func(_ io.Writer) error { return printWho(cmd, args[0], views, st.Postures) })
		},
	}
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// viewsOf are the endpoints that were found, as the controller shows them.
func viewsOf(all []scheduler.EndpointView, found explain.Found) []scheduler.EndpointView {
	ids := map[string]bool{}
	for _, e := range found.Endpoints {
		ids[e.ID] = true
	}
	views := []scheduler.EndpointView{}
	for _, e := range all {
		if ids[e.ID] {
			views = append(views, e)
		}
	}
	slices.SortStableFunc(views, func(a, b scheduler.EndpointView) int { return strings.Compare(a.App, b.App) })
	return views
}

func printWho(cmd *cobra.Command, name string, views []scheduler.EndpointView, postures []scheduler.PostureView) error {
	out := cmd.OutOrStdout()
	switch len(views) {
	case 0:
		_, err := fmt.Fprintf(out, "Nobody: no task has an address of %s.\n", name)
		return err
	case 1:
		e := &views[0]
		fmt.Fprintf(out, "%s has %s.\n\n", e.App, dash(addr(e.Address)))
		return table(out, append(describe(e), []string{"  policies", policiesOf(e, postures)})...)
	}
	return table(out, taskRows(views)...)
}

// policiesOf are the policies that apply to an endpoint.
func policiesOf(e *scheduler.EndpointView, postures []scheduler.PostureView) string {
	for _, p := range postures {
		if p.ID == e.Posture {
			return strings.Join(p.Policies, ", ")
		}
	}
	return "none: it is closed"
}
