package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/scheduler/bundle"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/whatif"
)

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export SYSTEM... --out FILE",
		Short: "Write an evidence bundle: who could reach systems in a period, and the proof",
		Long: `Write one file for an assessor: who could reach the named systems in a period and
whom they could reach, as a page to read and as JSON, with all records of the log
that it follows from, their chain and the checkpoints that sign them. Anybody can
check it with 'taskwall audit check-bundle', without a cluster.

A SYSTEM is an app by its id, such as /shop/orders-db, or a network by the name of
its network set or as policies write it, such as 10.20.0.0/16.

An answer depends on all that was before. With --trust the bundle begins with the
last state before the period that a checkpoint of these keys vouches for, and holds
the records from there on; --whole has it hold all records from the log's first on,
as it does when no state is signed. With --short it holds those of the period alone,
and begins with a state that no signature vouches for: no proof of what was so before.

Exit status 1 when nobody had one of the names in the period: the bundle is written,
but the name may be misspelt.`,
		Example: `  taskwall audit export /shop/orders-db --from 2026-01-01 --to 2026-04-01 --out q1.tar.gz --trust checkpoint.pub
  taskwall audit export /shop/orders-db legacy-oracle --from "30d ago" --out month.tar.gz --short`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name the systems: apps, network sets or networks")}
			}
			return nil
		},
		RunE: runExport,
	}
	cmd.Flags().String("out", "", "`file` to write, such as evidence.tar.gz")
	cmd.Flags().Bool("short", false, "hold the records of the period alone; see above")
	cmd.Flags().Bool("whole", false, "hold all records from the log's first on")
	cmd.MarkFlagsMutuallyExclusive("short", "whole")
	periodFlags(cmd)
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func runExport(cmd *cobra.Command, args []string) error {
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	file, _ := cmd.Flags().GetString("out")
	if file == "" {
		return usageError{errors.New("name the file to write: --out FILE")}
	}
	h, release, err := openHistory(cmd)
	if err != nil {
		return err
	}
	defer release()
	ctx := cmd.Context()
	from, to, err := wholePeriod(cmd, h)
	if err != nil {
		return err
	}
	q := bundle.Question{Systems: args, From: from, To: to, Made: time.Now()}
	snapshot, err := startOfBundle(cmd, h, &q)
	if err != nil {
		return err
	}
	next := file + ".new"
	out, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	answer, err := bundle.Write(ctx, out, h, q, snapshot)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(next, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), answer)
	} else {
		err = printExported(cmd.OutOrStdout(), file, len(args), answer)
	}
	if err != nil {
		return err
	}
	seq, err := h.SeqAt(ctx, to)
	if err != nil {
		return err
	}
	state, err := h.StateAt(ctx, seq)
	if err != nil {
		return err
	}
	w := worldThen(state)
	for _, name := range args {
		if _, err := w.Find(name); errors.Is(err, explain.ErrAmbiguous) {
			fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: the bundle is about all of them: %v\n", err)
		}
	}
	if len(answer.Never) == 0 {
		return nil
	}
	// The bundle proves that, too; but more often it is a slip of the pen.
	names := w.Names()
	for _, name := range answer.Never {
		near := meant(name, names)
		if strings.ContainsRune(name, '/') && name[0] != '/' { // a network
			near = ": a network is one that policies name, tasks are named by their apps"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "taskwall: warning: nobody had the name %s in the period%s\n", name, near)
	}
	return errNo
}

// startOfBundle is the snapshot to begin with, or nil of a whole bundle.
func startOfBundle(cmd *cobra.Command, h *history.History, q *bundle.Question) ([]byte, error) {
	ctx := cmd.Context()
	short, _ := cmd.Flags().GetBool("short")
	whole, _ := cmd.Flags().GetBool("whole")
	if short {
		seq, err := h.SeqAt(ctx, q.From)
		if err != nil || seq == 0 {
			return nil, err
		}
		state, err := h.StateAt(ctx, seq)
		if err != nil {
			return nil, err
		}
		if state.Now().After(q.From) { // records lie only nearly in the order of their times
			q.From = state.Now()
		}
		return state.MarshalBinary()
	}
	if !whole {
		state, snapshot, err := h.Vouched(ctx, q.From)
		if err != nil {
			return nil, err
		}
		if state != nil {
			q.Vouched = true
			return snapshot, nil
		}
	}
	b, err := h.Bounds(ctx)
	if err == nil && b.First > 1 {
		err = fmt.Errorf("the log's beginning is no longer kept, it starts with record %d: without a signed state before the period (--trust) a bundle cannot prove its answer; "+
			"--short makes one without that proof", b.First)
	}
	return nil, err
}

func printExported(w io.Writer, file string, systems int, a *bundle.Answer) error {
	rows := [][]string{{"FROM", "TO", "PORTS", "FOR"}}
	for _, list := range [][]whatif.Reach{a.In, a.Out} {
		for i := range list {
			f := &list[i]
			rows = append(rows, []string{f.From.String(), f.To.String(), f.Ports, moment.Span(f.Lasted)})
		}
	}
	switch {
	case len(rows) > 1:
		if err := table(w, rows...); err != nil {
			return err
		}
	case len(a.Never) < systems:
		fmt.Fprintln(w, "Nobody could reach them, and they could reach nobody.")
	default:
		fmt.Fprintln(w, "Nobody had such a name in the period.")
	}
	_, err := fmt.Fprintf(w, "\nWritten to %s. To check it: taskwall audit check-bundle %s --trust checkpoint.pub\n", file, file)
	return err
}

func checkBundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-bundle FILE",
		Short: "Check an evidence bundle, without a cluster",
		Long: `Check the chain and the signed checkpoints of a bundle's records, fold them again,
and compare the answer and the page with those in the bundle. It needs nothing but
the file, and the public keys whose checkpoints you trust: from the operators, not
from the bundle.

Exit status 0 when the bundle is what it says of itself, 1 when it is not.`,
		Example: "  taskwall audit check-bundle q1.tar.gz --trust checkpoint.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			trust, err := trusted(cmd)
			if err != nil {
				return err
			}
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			c, err := bundle.Check(cmd.Context(), file, trust...)
			if err != nil {
				return err
			}
			return reply(cmd, asJSON, c, !c.OK(), func(w io.Writer) error { return printChecked(w, c, len(trust) > 0) })
		},
	}
	trustFlag(cmd)
	outputFlag(cmd)
	return cmd
}

func printChecked(w io.Writer, c *bundle.Checked, trust bool) error {
	q := &c.Question
	fmt.Fprintf(w, "Systems  %s\n", strings.Join(q.Systems, ", "))
	fmt.Fprintf(w, "Period   %s to %s\n", q.From.UTC().Format(time.RFC3339), q.To.UTC().Format(time.RFC3339))
	fmt.Fprintf(w, "Records  %d, of %d to %d\n", c.Records, q.First, q.Last)
	switch {
	case !trust:
		fmt.Fprintln(w, "Signed   not checked: no key was given to trust; the chain alone speaks")
	case c.Signed > 0:
		fmt.Fprintf(w, "Signed   up to record %d, by checkpoints of trusted keys (%d)\n", c.Signed, c.Checkpoints)
	default:
		fmt.Fprintln(w, "Signed   by no trusted key")
	}
	switch {
	case q.Vouched && trust:
		fmt.Fprintf(w, "Start    the state after record %d, as a checkpoint of a trusted key signs it\n", q.Start)
	case q.Vouched:
		fmt.Fprintf(w, "Start    the state after record %d; its signature was not checked\n", q.Start)
	case q.Start > 0:
		fmt.Fprintf(w, "Short    it begins with the state after record %d, which is taken on trust\n", q.Start)
	}
	if c.OK() {
		_, err := fmt.Fprintln(w, "\nThe answer follows from the records.")
		return err
	}
	fmt.Fprintf(w, "\nREFUSED: it is not what it says of itself.\n")
	for _, p := range c.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	return nil
}
