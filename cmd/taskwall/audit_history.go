package main

import (
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/history"
)

// historyFlags adds the choice of where the past is read from.
func historyFlags(cmd *cobra.Command) {
	cmd.Flags().String("copy", "", "`directory` with a copy to read, instead of NATS; see 'taskwall audit copy'")
	cmd.Flags().Bool("ignore-snapshots", false, "fold from the log's beginning: without --trust, snapshots prove nothing")
	trustFlag(cmd)
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
	keys, err := trusted(cmd)
	if err != nil {
		release()
		return nil, nil, err
	}
	if h.Trust(keys...); len(keys) > 0 {
		closed := release
		release = func() {
			warnPassed(cmd, h.Passed())
			closed()
		}
	}
	if bare, _ := cmd.Flags().GetBool("ignore-snapshots"); bare {
		h.IgnoreSnapshots()
	}
	restore, closed := history.CollectLess(), release
	return h, func() {
		closed()
		restore()
	}, nil
}

// keptReports are the hosts' reports from a place on, with what is damaged or
// missing told among them. When those before the place are no longer kept, it warns.
func keptReports(cmd *cobra.Command, h *history.History, place uint64) iter.Seq2[work.StoredReport, error] {
	return func(yield func(work.StoredReport, error) bool) {
		for r, err := range h.WholeReports(cmd.Context(), max(place, 2)-1) {
			if errors.Is(r.Err, eventlog.ErrGone) {
				fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: what hosts reported before %s is no longer kept, such as denied packets\n", stamp(r.Stored))
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// warnPassed says which snapshots an answer was not made from: each that was
// tampered with, and how many nobody vouches for.
func warnPassed(cmd *cobra.Command, passed []history.Passed) {
	var unsigned []uint64
	for _, p := range passed {
		if errors.Is(p.Err, eventlog.ErrUnsigned) {
			unsigned = append(unsigned, p.Seq)
			continue
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: the snapshot at log entry %d was not used: %v\n", p.Seq, p.Err)
	}
	switch n := len(unsigned); n {
	case 0:
	case 1:
		fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: the snapshot at log entry %d was not used: %v\n", unsigned[0], eventlog.ErrUnsigned)
	default:
		fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: %d snapshots, at log entries %d to %d, were not used: no checkpoint of a trusted key vouches for them\n",
			n, unsigned[0], unsigned[n-1])
	}
}
