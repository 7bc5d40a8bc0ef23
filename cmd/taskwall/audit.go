package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Ask the past: who could reach whom, who had an address, what happened",
	}
	cmd.AddCommand(atCommand(), reachCommand(), explainThenCommand(), whoThenCommand(), timelineCommand(),
		copyCommand(), replayCommand(), verifyCommand(), whatIfCommand(), exportCommand(), checkBundleCommand(), keyCommand(), checkpointCommand())
	return cmd
}

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Fold the log again and compare every work item with the one published",
		Long: `Read the log from its first entry, fold it again, and compare every work item
that follows from it with the one that was published to the hosts. It needs no
controller, only to read from NATS, or from a copy.

Prints the counts and the first difference, if any. Exit status 1 when what was
published is not what the log says.`,
		Example: "  taskwall audit replay --nats-url nats://10.0.0.2:4222",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			past, release, err := openHistory(cmd)
			if err != nil {
				return err
			}
			defer release()
			ctx := cmd.Context()
			start := time.Now()
			items := func(yield func(*work.Item, error) bool) {
				for p, err := range past.Items(ctx, 0) {
					var it *work.Item
					if err == nil {
						if it, err = p.Item(); err != nil {
							err = fmt.Errorf("the work item stored at %d: %w", p.Seq, err)
						}
					}
					if !yield(it, err) {
						return
					}
				}
			}
			shown := &progress{w: cmd.ErrOrStderr()}
			result, err := scheduler.Replay(past.Entries(ctx, 1), items, func(n int) { shown.say("%d events folded", n) })
			shown.end()
			if err != nil {
				return err
			}
			return reply(cmd, asJSON, result, result.First != nil, func(w io.Writer) error { return printReplay(w, result, time.Since(start)) })
		},
	}
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func printReplay(w io.Writer, r scheduler.Replayed, took time.Duration) error {
	fmt.Fprintf(w, "Folded %d events in %s.\n", r.Events, took.Round(time.Millisecond))
	fmt.Fprintf(w, "Work items: %d made by the log, %d published, %d equal.\n", r.Items, r.Published, r.Equal)
	if r.Unsent > 0 {
		fmt.Fprintf(w, "%d made and not published.\n", r.Unsent)
	}
	if r.Unexpected > 0 {
		fmt.Fprintf(w, "%d published that the log does not make.\n", r.Unexpected)
	}
	if r.First == nil {
		fmt.Fprintln(w, "What was published is what the log says.")
		return nil
	}
	d := r.First
	fmt.Fprintf(w, "FIRST DIFFERENCE: host %s, revision %d, caused by log entry %d: %s.\n", d.Host, d.Rev, d.Cause, d.What)
	for _, side := range []struct {
		name string
		item *work.Item
	}{{"the log makes", d.Made}, {"published", d.Published}} {
		if side.item == nil {
			continue
		}
		fmt.Fprintln(w, side.name+":")
		if err := printJSON(w, side.item); err != nil {
			return err
		}
	}
	return nil
}
