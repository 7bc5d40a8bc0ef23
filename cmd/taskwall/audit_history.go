package main

import (
	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler/history"
)

// historyFlags adds the choice of where the past is read from.
func historyFlags(cmd *cobra.Command) {
	cmd.Flags().String("copy", "", "`directory` with a copy to read, instead of NATS; see 'taskwall audit copy'")
	cmd.Flags().Bool("ignore-snapshots", false, "fold from the log's beginning: snapshots prove nothing")
	natsFlags(cmd)
}

// openHistory is the past that the flags name. Call release when done with it.
func openHistory(cmd *cobra.Command) (h *history.History, release func(), err error) {
	if dir, _ := cmd.Flags().GetString("copy"); dir != "" {
		if h, err = history.Open(dir); err != nil {
			return nil, nil, err
		}
		release = func() { _ = h.Close() } // only read
	} else {
		conn, err := connectReader(cmd, "taskwall audit")
		if err != nil {
			return nil, nil, err
		}
		if h, err = history.Live(cmd.Context(), conn.JS); err != nil {
			conn.Close()
			return nil, nil, err
		}
		release = conn.Close
	}
	if bare, _ := cmd.Flags().GetBool("ignore-snapshots"); bare {
		h.IgnoreSnapshots()
	}
	return h, release, nil
}
