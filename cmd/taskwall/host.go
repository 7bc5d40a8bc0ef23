package main

import (
	"context"
	"fmt"
	"io"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Take traffic off a host before work on it, and use it again",
	}
	cmd.AddCommand(drainCommand(true), drainCommand(false))
	return cmd
}

func drainCommand(on bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain HOST",
		Short: "Let routers and hosts prefer any other way than through this host",
		Long: `Announce all of the host's networks with the community GRACEFUL_SHUTDOWN
(RFC 8326) and the lowest preference. Who has another way takes it before the
host goes away; who has none still gets there. Tasks keep running: moving them is
Mesos's business. The order is kept in the log, with who gave it, until
"taskwall host undrain".`,
		Example: `  taskwall host drain node-7 --reason "new memory"
  taskwall status bgp node-7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runDrain(cmd, args[0], on) },
	}
	if !on {
		cmd.Use, cmd.Short = "undrain HOST", "Use a drained host again"
		cmd.Long = "Announce the host's networks as before it was drained."
		cmd.Example = "  taskwall host undrain node-7"
	}
	cmd.Flags().String("author", "", "who gives the order; without it, who runs this command")
	cmd.Flags().String("reason", "", "why, in a line")
	cmd.Flags().Duration("wait", 10*time.Second, "how long to wait until the host has done it; 0: not at all")
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func runDrain(cmd *cobra.Command, host string, on bool) error {
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	order := controller.DrainOrder{Drain: events.Drain{Host: host, On: on}}
	order.By, _ = cmd.Flags().GetString("author")
	order.Reason, _ = cmd.Flags().GetString("reason")
	order.Wait, _ = cmd.Flags().GetDuration("wait")
	if order.By == "" {
		u, err := user.Current()
		if err != nil {
			return usageError{fmt.Errorf("finding out who you are: %w; say it with --author", err)}
		}
		order.By = u.Username
	}
	conn, err := connect(cmd, "taskwall host")
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), order.Wait+10*time.Second)
	defer cancel()
	result, err := controller.Call[controller.DrainResult](ctx, conn, controller.SubjectDrain, order)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return printDrain(cmd.OutOrStdout(), order, result)
}

func printDrain(w io.Writer, o controller.DrainOrder, r controller.DrainResult) error {
	verb := "drained"
	if !o.On {
		verb = "in use"
	}
	switch {
	case r.Seq == 0:
		fmt.Fprintf(w, "%s was %s already.\n", o.Host, verb)
	case r.Routing == "static":
		fmt.Fprintf(w, "%s is %s as of log entry %d, by %s. Its routes are static: nothing changes until it speaks BGP.\n", o.Host, verb, r.Seq, o.By)
	case r.Applied:
		fmt.Fprintf(w, "%s is %s as of log entry %d, by %s.\n", o.Host, verb, r.Seq, o.By)
	case o.Wait <= 0:
		fmt.Fprintf(w, "%s will be %s: log entry %d, by %s.\n", o.Host, verb, r.Seq, o.By)
	default:
		return fmt.Errorf("the order is log entry %d, but %s has not reported within %s that it is %s; see 'taskwall status'", r.Seq, o.Host, o.Wait, verb)
	}
	return nil
}
