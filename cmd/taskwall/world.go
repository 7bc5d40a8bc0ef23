package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/snapshot"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// worldFlags adds the choice between files and the live cluster.
func worldFlags(cmd *cobra.Command) {
	cmd.Flags().String("policies", "", "`directory` of policies to ask, instead of those in force")
	cmd.Flags().String("endpoints", "", "YAML `file` of endpoints to ask, instead of those that run; see 'taskwall policy endpoints'")
	natsFlags(cmd)
}

// world is what a question is asked of: files alone, or what the controller
// has in force, either part of it replaced by files.
func world(cmd *cobra.Command) (*explain.World, error) {
	dir, _ := cmd.Flags().GetString("policies")
	return worldOf(cmd, dir)
}

// worldOf is world with the directory of policies given; "" is those in force.
func worldOf(cmd *cobra.Command, dir string) (*explain.World, error) {
	file, _ := cmd.Flags().GetString("endpoints")
	if dir != "" && file != "" {
		return explain.Offline(dir, file)
	}
	conn, err := connect(cmd, "taskwall policy")
	if err != nil {
		return nil, errors.Join(err, errors.New("without a controller, give policies and endpoints as files; see --help"))
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	endpoints, err := liveEndpoints(ctx, conn)
	if err != nil {
		return nil, err
	}
	if dir != "" {
		w, err := explain.Offline(dir, "")
		if err != nil {
			return nil, err
		}
		for _, e := range endpoints {
			w.Put(e)
		}
		return w, nil
	}
	if file != "" {
		list, err := snapshot.Load(file)
		if err != nil {
			return nil, err
		}
		endpoints = snapshot.Policies(list)
	}
	inForce, err := controller.Call[controller.Policy](ctx, conn, controller.SubjectPolicy, struct{}{})
	if err != nil {
		return nil, err
	}
	return explain.New(inForce.Resources, endpoints, inForce.Commits)
}

// endpointsOf is the file's endpoints, or none without a file.
func endpointsOf(file string) ([]policy.Endpoint, error) {
	if file == "" {
		return nil, nil
	}
	list, err := snapshot.Load(file)
	return snapshot.Policies(list), err
}
