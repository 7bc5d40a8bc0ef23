package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler/history"
)

func copyCommand() *cobra.Command {
	var noIndex bool
	cmd := &cobra.Command{
		Use:   "copy DIR",
		Short: "Keep a copy of all that happened, to ask without NATS",
		Long: `Copy the log, the work items, the reports, the checkpoints and the snapshots to
a directory. The other audit commands read it with --copy instead of
--nats-url. It needs no controller; the auditor's key suffices.

Run again, it adds what is new. It may be interrupted at any time and goes on
where it was. The copy can be read without this program: JSON Lines, compressed
with zstd.

By default it also adds snapshots of what was in force, so that questions about
any moment are answered within seconds. They prove nothing and may be deleted;
--no-index leaves them out.`,
		Example: `  taskwall audit copy /srv/audit --nats-url nats://10.0.0.2:4222 --nats-nkey auditor.nk
  taskwall audit replay --copy /srv/audit`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			conn, err := connectReader(cmd, "taskwall audit")
			if err != nil {
				return err
			}
			defer conn.Close()
			start, shown := time.Now(), &progress{w: cmd.ErrOrStderr()}
			done, err := history.Copy(cmd.Context(), conn.JS, args[0], history.CopyOptions{
				NoIndex:  noIndex,
				Progress: func(p history.Progress) { shown.say("%s: %d of %d", p.Part, p.At, p.Last) },
			})
			shown.end()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "Added %d events, %d work items, %d reports, %d checkpoints and %d snapshots in %s.\n",
				done.Events, done.Items, done.Reports, done.Checkpoints, done.Snapshots, time.Since(start).Round(time.Millisecond))
			fmt.Fprintf(w, "The copy holds the log up to entry %d.\n", done.Last)
			return nil
		},
	}
	cmd.Flags().BoolVar(&noIndex, "no-index", false, "add no snapshots; questions about the past then take longer")
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}
