package main

import (
	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler/history"
)

// historyFlags adds the choice of where the past is read from.
func historyFlags(cmd *cobra.Command) { natsFlags(cmd) }

// openHistory is the past that the flags name. Call its release when done.
func openHistory(cmd *cobra.Command) (h *history.History, release func(), err error) {
	conn, err := connectReader(cmd, "taskwall audit")
	if err != nil {
		return nil, nil, err
	}
	h, err = history.Live(cmd.Context(), conn.JS)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return h, conn.Close, nil
}
