package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/scheduler/history"
)

// periodFlags adds --from and --to.
func periodFlags(cmd *cobra.Command) {
	cmd.Flags().String("from", "", "`TIME` from which to tell; without, the log's beginning")
	cmd.Flags().String("to", "", "`TIME` up to which to tell; without, the log's end")
	cmd.Long += "\n\n" + moment.Help
}

// period reads --from and --to. A bound that is not given is zero.
func period(cmd *cobra.Command, h *history.History) (from, to time.Time, err error) {
	read := func(flag string) (time.Time, error) {
		text, _ := cmd.Flags().GetString(flag)
		if text == "" {
			return time.Time{}, nil
		}
		return parseMoment(cmd.Context(), "--"+flag, text, h)
	}
	if from, err = read("from"); err != nil {
		return from, to, err
	}
	if to, err = read("to"); err != nil {
		return from, to, err
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return from, to, usageError{fmt.Errorf("--from %s is not before --to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))}
	}
	return from, to, nil
}

// wholePeriod is period with the log's own bounds for those not given, and for
// those outside of it: of what was before and after nothing can be told.
func wholePeriod(cmd *cobra.Command, h *history.History) (from, to time.Time, err error) {
	if from, to, err = period(cmd, h); err != nil {
		return from, to, err
	}
	b, err := h.Bounds(cmd.Context())
	switch {
	case err != nil:
		return from, to, fmt.Errorf("finding the ends of the log: %w", err)
	case b.Last == 0:
		return from, to, errors.New("the log is empty")
	case !to.IsZero() && to.Before(b.From), from.After(b.To):
		return from, to, fmt.Errorf("nothing is known of that period: the log's entries that are kept were received from %s to %s", stamp(b.From), stamp(b.To))
	}
	warn := func(t time.Time, outside string, end time.Time, does string) {
		if !t.IsZero() && !t.Equal(end) {
			fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: %s is %s, received %s: the period %s there\n", stamp(t), outside, stamp(end), does)
		}
	}
	if !from.After(b.From) {
		warn(from, "before the log's first entry that is kept", b.From, "begins")
		from = b.From
	}
	if to.IsZero() || !to.Before(b.To) {
		warn(to, "after the log's last entry", b.To, "ends")
		to = b.To.Add(time.Nanosecond) // with what the last entry made
	}
	return from, to, nil
}

// parseMoment reads a moment as a time. A place in the log is when its record
// was received.
func parseMoment(ctx context.Context, name, text string, h *history.History) (time.Time, error) {
	m, err := moment.Parse(text, time.Now(), time.Local)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("%s: %w", name, err)}
	}
	if !m.Time.IsZero() {
		return m.Time, nil
	}
	for r, err := range h.Records(ctx, m.Seq) {
		if err != nil {
			return time.Time{}, err
		}
		e, err := r.Entry()
		return e.Event.Received, err
	}
	return time.Time{}, fmt.Errorf("%s: the log has no record %d", name, m.Seq)
}

// nowOf is the time up to which what the flags name is looked at: a copy ends
// with what it holds.
func nowOf(cmd *cobra.Command) time.Time {
	if dir, _ := cmd.Flags().GetString("copy"); dir != "" {
		return time.Time{}
	}
	return time.Now()
}
