package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/timeline"
)

func timelineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "timeline",
		Short: "Tell what happened to an app, a task, an address, a host or a policy",
		Long: `Tell in order what happened to one of: an app (--app), a task (--task), whoever
had an address (--address), a host (--host) or a policy resource (--policy):

  deployed, version, scaled   what Marathon did
  staged, running, killed…    the task's states
  addressed, no address       what the controller gave it
  wired, not wired, unwired   what its host did, and how long it took
  policy, policies            a change that touched it: it changed which policies
                              apply, what their rules say, or which addresses they name
  denied, logged              packets, with the names of who had the addresses
  host lost, returned, gone   of the hosts that it is on
  drift, cut, failed          what a host mended, cut, or could not do
  unreadable                  reports that are damaged or missing: status 3

LOG is the place in the log, and r with a number that of a host's report.
--from and --to bound the time; without --from it begins with the log.

Exit status 1 when nothing is told, and nobody of that name is there at the end.` + timeHelp,
		Example: `  taskwall audit timeline --app /shop/web --from -1d
  taskwall audit timeline --address 10.8.3.17 --from "2026-03-14 14:00" --to "2026-03-14 15:00"
  taskwall audit timeline --host node-7 -o json
  taskwall audit timeline --policy production/web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			subject, err := subjectOf(cmd)
			if err != nil {
				return err
			}
			from, _ := cmd.Flags().GetString("from")
			to, _ := cmd.Flags().GetString("to")
			for _, text := range []string{from, to} {
				if text == "" {
					continue
				}
				if _, err := readMoment(text); err != nil {
					return err
				}
			}
			q, release, err := askPast(cmd)
			if err != nil {
				return err
			}
			defer release()
			s, story, err := q.tellStory(cmd, subject, from, to)
			if err != nil {
				return err
			}
			told, err := printStory(cmd, story, asJSON)
			if err != nil || told {
				return err
			}
			return nothingTold(cmd, s, &subject)
		},
	}
	f := cmd.Flags()
	f.String("app", "", "tell of this `app`")
	f.String("task", "", "tell of this `task`, by its id")
	f.String("address", "", "tell of whoever had this `address`")
	f.String("host", "", "tell of this `host`")
	f.String("policy", "", "tell of this `policy`, such as production/web, or of another resource")
	f.String("from", "", "begin at this `TIME`")
	f.String("to", "", "end at this `TIME`")
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func subjectOf(cmd *cobra.Command) (timeline.Subject, error) {
	var s timeline.Subject
	given := 0
	for name, into := range map[string]*string{"app": &s.App, "task": &s.Task, "host": &s.Host, "policy": &s.Policy} {
		if *into, _ = cmd.Flags().GetString(name); *into != "" {
			given++
		}
	}
	if text, _ := cmd.Flags().GetString("address"); text != "" {
		given++
		var err error
		if s.Address, err = netip.ParseAddr(text); err != nil {
			return s, usageError{fmt.Errorf("--address %q: write an address such as 10.8.3.17", text)}
		}
	}
	if given != 1 {
		return s, usageError{errors.New("say of whom, with one of --app, --task, --address, --host and --policy")}
	}
	return s, nil
}

// nothingTold says why a story is empty, of a subject that must not be a slip of
// the pen. The state is that at the story's end.
func nothingTold(cmd *cobra.Command, s *scheduler.State, subject *timeline.Subject) error {
	known, near := knows(s, subject)
	if known {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "taskwall: nothing happened to it in that time")
		return err
	}
	return refused{fmt.Errorf("the log has no trace of it in that time, and it is not there at the end, log entry %d%s", s.Seq(), near)}
}

// tellStory tells the subject's story between two moments; "" is no limit. The
// state is folded along.
func (q *question) tellStory(cmd *cobra.Command, subject timeline.Subject, from, to string) (*scheduler.State, iter.Seq2[timeline.Event, error], error) {
	ctx := cmd.Context()
	limit := func(text string) (t time.Time, err error) {
		if text == "" {
			return t, nil
		}
		at, err := q.place(ctx, text)
		if err != nil {
			return t, err
		}
		if at.Warning != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "taskwall: warning: "+at.Warning)
		}
		m, err := readMoment(text)
		if m.Log {
			return at.Time, err
		}
		return m.Time, err
	}
	begin, err := limit(from)
	if err != nil {
		return nil, nil, err
	}
	end, err := limit(to)
	if err != nil {
		return nil, nil, err
	}
	if !begin.IsZero() && !end.IsZero() && end.Before(begin) {
		return nil, nil, usageError{fmt.Errorf("--from %s is after --to %s", from, to)}
	}
	var seq, reports uint64
	if !begin.IsZero() {
		if seq, err = q.SeqAt(ctx, begin.Add(-timeline.Disorder)); err != nil {
			return nil, nil, err
		}
		if reports, err = q.ReportsAt(ctx, begin); err != nil {
			return nil, nil, err
		}
	}
	s, err := q.StateAt(ctx, max(seq, q.bounds.First-min(q.bounds.First, 1)))
	if err != nil {
		return nil, nil, err
	}
	return s, timeline.New(s, subject).Tell(q.Entries(ctx, s.Seq()+1), keptReports(cmd, q.History, reports), begin, end), nil
}

// printStory prints what is told, and then fails if some of it could not be read.
func printStory(cmd *cobra.Command, story iter.Seq2[timeline.Event, error], asJSON bool) (told bool, err error) {
	out := cmd.OutOrStdout()
	list := []timeline.Event{}
	var unread []string
	rows := [][]string{{"TIME", "LOG", "WHAT", "WHO", "HOW"}}
	for e, err := range story {
		if err != nil {
			return false, err
		}
		if e.Kind == timeline.Unreadable && e.Host == "" {
			unread = append(unread, e.Text)
		}
		if asJSON {
			list = append(list, e)
			continue
		}
		rows = append(rows, storyRow(&e))
	}
	switch {
	case asJSON:
		told, err = len(list) > 0, printJSON(out, list)
	case len(rows) > 1:
		told, err = true, table(out, rows...)
	}
	if err == nil && len(unread) > 0 {
		err = fmt.Errorf("the story may not be whole: %s", strings.Join(unread, "; "))
	}
	return told, err
}

func storyRow(e *timeline.Event) []string {
	place := fmt.Sprintf("r%d", e.Report)
	if e.Seq > 0 {
		place = fmt.Sprint(e.Seq)
	}
	who := cmp.Or(shortTask(e.Task), e.App, e.Host)
	at := "-"
	if !e.Time.IsZero() {
		at = e.Time.UTC().Format("2006-01-02 15:04:05.000")
	}
	return []string{at, place, e.Kind, dash(who), e.Text}
}

// shortTask is a task's id of Marathon's with the first eight digits of its
// UUID only: enough to tell tasks apart in a table.
func shortTask(id string) string {
	for _, mark := range []string{".instance-", ".marathon-", "."} {
		if i := strings.LastIndex(id, mark); i > 0 && len(id) >= i+len(mark)+36 && id[i+len(mark)+8] == '-' {
			return id[:i+len(mark)+8] + "…"
		}
	}
	return id
}
