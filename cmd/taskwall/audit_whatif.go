package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/whatif"
)

func whatIfCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "what-if --policies DIR",
		Short: "Replay a stretch of history against other policies",
		Long: `Fold the log as it was, with the tasks that ran, and ask of every moment what the
policies of a directory would have allowed, had they been the ones in force: all
of them and no others.

Told are the flows between apps, and between apps and networks that policies
name, that would have been another way, with
  FOR         for how long there was at least one such pair of tasks
  PAIR HOURS  pairs of tasks, a sender and a receiver, times the hours for which
              each was there: two clients and three servers for an hour are 6
and the packets that hosts reported then: denied ones that would have passed, and
logged ones that passed and would not have. A port counts as open when it can be
reached from some source port. Tasks keep the addresses that they had, whatever
the pools of the directory say.

Exit status 0 when nothing would have been otherwise, 1 when something would.`,
		Example: `  taskwall audit what-if --policies policies/ --from "30d ago"
  taskwall audit what-if --policies policies/ --from 2026-02-01 --to 2026-03-01 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _ := cmd.Flags().GetString("policies")
			if dir == "" {
				return usageError{fmt.Errorf("name the directory with the other policies: --policies DIR")}
			}
			h, release, err := openHistory(cmd)
			if err != nil {
				return err
			}
			defer release()
			from, to, err := wholePeriod(cmd, h)
			if err != nil {
				return err
			}
			return whatIf(cmd, h, dir, from, to)
		},
	}
	cmd.Flags().String("policies", "", "`directory` of the other policies")
	periodFlags(cmd)
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// whatIf replays a stretch and prints what would have been otherwise.
func whatIf(cmd *cobra.Command, h *history.History, dir string, from, to time.Time) error {
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	resources, err := resource.Load(dir)
	if err != nil {
		return err
	}
	o := whatif.Options{Resources: resources, From: from, To: to}
	if err := stretchOf(cmd, h, &o); err != nil {
		return err
	}
	shown := &progress{w: cmd.ErrOrStderr()}
	o.Progress = func(n int, at time.Time) { shown.say("%d events, of %s", n, at.UTC().Format(time.RFC3339)) }
	report, err := whatif.Run(cmd.Context(), o)
	shown.end()
	if err != nil {
		return err
	}
	return reply(cmd, asJSON, report, !report.Empty(), report.WriteText)
}

// stretchOf finds the state at the beginning of a stretch, and what came after.
func stretchOf(cmd *cobra.Command, h *history.History, o *whatif.Options) error {
	ctx := cmd.Context()
	b, err := h.Bounds(ctx)
	if err != nil {
		return err
	}
	var seq uint64
	if o.From.After(b.From) {
		if seq, err = h.SeqAt(ctx, o.From); err != nil {
			return err
		}
	} else if b.First > 1 { // the beginning is no longer kept
		seq = b.First - 1
	}
	if o.State, err = h.StateAt(ctx, seq); err != nil {
		return err
	}
	place, err := h.ReportsAt(ctx, o.From)
	if err != nil {
		return err
	}
	o.Log, o.Reports = h.Entries(ctx, seq+1), keptReports(cmd, h, place)
	return nil
}
