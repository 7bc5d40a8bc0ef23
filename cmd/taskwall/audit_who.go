package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/timeline"
)

// holder is the answer to who had an address.
type holder struct {
	AsOf    asOf              `json:"asOf"`
	Address netip.Addr        `json:"address"`
	Held    *timeline.Holding `json:"held,omitempty"`   // absent: nobody had it
	Before  *timeline.Holding `json:"before,omitempty"` // who had it last before, if nobody had it then
	After   *timeline.Holding `json:"after,omitempty"`  // and first after
}

func whoThenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "who ADDRESS",
		Short: "Say who had an address at a time, and from when to when",
		Long: `Say which task had an address at a time, where it ran, and from when to when it
held the address: from its assignment until its host said that nothing of the task
was left. When nobody had it, say who had it last before and first after.

Exit status 1 when nobody had it.` + timeHelp,
		Example: `  taskwall audit who 10.8.3.17 --at "2026-03-14 14:03"
  taskwall audit who 10.8.3.17 --at "2h ago" -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			address, err := netip.ParseAddr(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is no address: write one such as 10.8.3.17", args[0])}
			}
			when, _ := cmd.Flags().GetString("at")
			if _, err := readMoment(when); err != nil {
				return err
			}
			q, release, err := askPast(cmd)
			if err != nil {
				return err
			}
			defer release()
			answer, err := whoHeld(cmd.Context(), q, address, when, lookBack)
			if err != nil {
				return err
			}
			return reply(cmd, asJSON, answer, answer.Held == nil, func(w io.Writer) error {
				answer.AsOf.print(cmd)
				return answer.print(w)
			})
		},
	}
	atFlag(cmd)
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// lookBack is how many entries before a moment are folded at first to find
// since when an address was held.
const lookBack = 10_000

// whoHeld looks back from the moment, by so many entries at first, until it has seen how the
// holding began, and ahead to its end; not ahead when it lasts to the log's end.
func whoHeld(ctx context.Context, q *question, address netip.Addr, when string, back uint64) (*holder, error) {
	at, err := q.place(ctx, when)
	if err != nil {
		return nil, err
	}
	answer := &holder{AsOf: at, Address: address}
	lasts, err := lastsOn(ctx, q, address, at.Seq, back)
	if err != nil {
		return nil, err
	}
	for ; ; back *= 4 {
		from := at.Seq - min(at.Seq, back)
		if from < q.bounds.First {
			from = q.bounds.First - min(q.bounds.First, 1)
		}
		s, err := q.StateAt(ctx, from)
		if err != nil {
			return nil, err
		}
		list, err := timeline.Holdings(s, address, at.Seq, until(q.Entries(ctx, from+1), at.Seq, lasts))
		if err != nil {
			return nil, err
		}
		answer.Held = timeline.At(list, at.Seq)
		answer.Before, answer.After = nil, nil
		for i := range list {
			switch h := &list[i]; {
			case answer.Held != nil:
			case h.From.Seq > at.Seq && answer.After == nil:
				answer.After = h
			case h.Until != nil && h.Until.Seq <= at.Seq:
				answer.Before = h
			}
		}
		found := answer.Held
		if found == nil {
			found = answer.Before
		}
		if from < q.bounds.First || found != nil && found.Known {
			return answer, nil
		}
	}
}

// lastsOn says whether the same container has an address after an entry and at
// the log's end, unless that is near: then it had it all the while. An endpoint's name alone would
// not do, a framework can use it again.
func lastsOn(ctx context.Context, q *question, address netip.Addr, seq, near uint64) (bool, error) {
	last := q.bounds.Last
	if last-seq <= near {
		return false, nil // read as fast
	}
	then, err := q.StateAt(ctx, seq)
	if err != nil {
		return false, err
	}
	id, held := then.Holder(address)
	container := containerOf(then, id)
	if !held || container == "" {
		return false, nil
	}
	end, err := q.StateAt(ctx, last)
	if err != nil {
		return false, err
	}
	again, held := end.Holder(address)
	return held && again == id && containerOf(end, id) == container, nil
}

// containerOf is the Mesos container of an endpoint's first task, "" when it is
// not known.
func containerOf(s *scheduler.State, endpoint string) string {
	tasks := s.Tasks(endpoint)
	if len(tasks) == 0 {
		return ""
	}
	framework, _, _ := strings.Cut(endpoint, "/")
	t, _ := s.Task(events.TaskKey(framework, tasks[0]))
	return t.Container
}

// until gives the entries up to one, or all.
func until(log iter.Seq2[events.Entry, error], seq uint64, only bool) iter.Seq2[events.Entry, error] {
	if !only {
		return log
	}
	return func(yield func(events.Entry, error) bool) {
		for e, err := range log {
			if err == nil && e.Seq > seq || !yield(e, err) {
				return
			}
		}
	}
}

func (a *holder) print(out io.Writer) error {
	if a.Held != nil {
		return printHolding(out, a.Held, "had")
	}
	fmt.Fprintf(out, "Nobody had %s.\n", a.Address)
	if a.Before != nil {
		fmt.Fprintln(out, "\nBefore:")
		if err := printHolding(out, a.Before, "had"); err != nil {
			return err
		}
	}
	if a.After != nil {
		fmt.Fprintln(out, "\nAfter:")
		return printHolding(out, a.After, "got")
	}
	return nil
}

func printHolding(out io.Writer, h *timeline.Holding, verb string) error {
	e := &h.Holder
	name := e.App
	if name == "" {
		name = e.Task
	}
	fmt.Fprintf(out, "%s %s %s.\n\n", name, verb, h.Address)
	since := fmt.Sprintf("%s (log entry %d)", stamp(h.From.Time), h.From.Seq)
	if !h.Known {
		since = "before " + since
	}
	until := "the log's end: it holds it still"
	if h.Until != nil {
		until = fmt.Sprintf("%s (log entry %d)", stamp(h.Until.Time), h.Until.Seq)
	}
	rows := append(describe(e), []string{"  from", since}, []string{"  until", until})
	return table(out, rows...)
}

// describe is an endpoint as rows of a name and a value.
func describe(e *scheduler.EndpointView) [][]string {
	var labels []string
	for _, k := range events.SortedKeys(e.Labels) {
		if strings.HasPrefix(k, "taskwall/") {
			continue // told already, or found at the host
		}
		if v := e.Labels[k]; v != "" {
			k += "=" + v
		}
		labels = append(labels, k)
	}
	state := strings.TrimPrefix(e.State, "TASK_")
	if e.Wiring != "" {
		state += ", " + string(e.Wiring)
	}
	if e.Problem != "" {
		state += ": " + e.Problem
	}
	rows := [][]string{
		{"  task", e.Task}, {"  endpoint", e.ID}, {"  environment", e.Environment}, {"  host", e.Host}, {"  state", state},
		{"  labels", strings.Join(labels, " ")},
	}
	var told [][]string
	for _, r := range rows {
		if r[1] != "" {
			told = append(told, r)
		}
	}
	return told
}
