package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/snapshot"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func endpointsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "endpoints",
		Short: "Write the endpoints that run now as a file for check, test and explain",
		Long: `Write the endpoints that run now as YAML. With it, policies can be checked, tested
and explained where no controller is in reach, such as in a pipeline.`,
		Example: "  taskwall policy endpoints > endpoints.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := connect(cmd, "taskwall policy endpoints")
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			endpoints, err := liveEndpoints(ctx, conn)
			if err != nil {
				return err
			}
			list := make([]snapshot.Endpoint, len(endpoints))
			for i, e := range endpoints {
				list[i] = snapshot.Of(e)
			}
			return snapshot.Write(cmd.OutOrStdout(), list)
		},
	}
	natsFlags(cmd)
	return cmd
}

// liveEndpoints are the endpoints that the controller knows.
func liveEndpoints(ctx context.Context, conn *bus.Conn) ([]policy.Endpoint, error) {
	st, err := controller.Call[controller.Status](ctx, conn, controller.SubjectStatus, struct{}{})
	if err != nil {
		return nil, err
	}
	return policyEndpoints(st.Endpoints), nil
}

// policyEndpoints are endpoints as the resolver takes them.
func policyEndpoints(views []scheduler.EndpointView) []policy.Endpoint {
	endpoints := make([]policy.Endpoint, len(views))
	for i, e := range views {
		endpoints[i] = policy.Endpoint{ID: e.ID, Labels: e.Labels, Environment: e.Environment, Address: e.Address, Ports: e.Ports}
	}
	return endpoints
}
