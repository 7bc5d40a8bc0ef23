package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// past is where a command reads the past from.
type past interface {
	proof.Source
	// Now is the time up to which it tells; zero of a copy.
	Now() time.Time
}

// openPast opens what the flags name; done closes it.
func openPast(cmd *cobra.Command) (p past, done func(), err error) {
	conn, err := connectReader(cmd, "taskwall audit")
	if err != nil {
		return nil, nil, err
	}
	l, err := openLive(cmd.Context(), conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return l, conn.Close, nil
}

// periodFlags adds --from and --to.
func periodFlags(cmd *cobra.Command) {
	cmd.Flags().String("from", "", "`TIME` from which to tell; without, the log's beginning")
	cmd.Flags().String("to", "", "`TIME` up to which to tell; without, the log's end")
	cmd.Long += "\n\n" + moment.Help
}

// period reads --from and --to. A bound that is not given is zero.
func period(cmd *cobra.Command, p past) (from, to time.Time, err error) {
	read := func(flag string) (time.Time, error) {
		text, _ := cmd.Flags().GetString(flag)
		if text == "" {
			return time.Time{}, nil
		}
		m, err := moment.Parse(text, time.Now(), time.Local)
		if err != nil {
			return time.Time{}, usageError{fmt.Errorf("--%s: %w", flag, err)}
		}
		if m.Time.IsZero() && m.Seq > 0 {
			return received(cmd.Context(), p, m.Seq)
		}
		return m.Time, nil
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

// received is when a record of the log was received.
func received(ctx context.Context, p past, seq uint64) (time.Time, error) {
	for r, err := range p.Records(ctx, seq) {
		if err != nil {
			return time.Time{}, err
		}
		e, err := r.Entry()
		return e.Event.Received, err
	}
	return time.Time{}, fmt.Errorf("the log has no record %d", seq)
}
