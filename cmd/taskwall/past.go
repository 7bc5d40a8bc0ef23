package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
)

// asOf says which entry of the log an answer is as of.
type asOf struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time,omitzero"` // when the entry was received
	// Last says that it is the log's last.
	Last bool `json:"last,omitempty"`
	// Warning says how the moment that was asked for lies outside the log.
	Warning string `json:"warning,omitempty"`
}

func (a asOf) String() string { return "As of " + a.place() + "." }

func (a asOf) place() string {
	switch {
	case a.Seq == 0:
		return "before the log's first entry"
	case a.Last:
		return fmt.Sprintf("log entry %d, received %s, the log's last", a.Seq, stamp(a.Time))
	}
	return fmt.Sprintf("log entry %d, received %s", a.Seq, stamp(a.Time))
}

// stamp is a time as answers about the past write it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// atFlag adds --at.
func atFlag(cmd *cobra.Command) {
	cmd.Flags().String("at", "now", "`TIME` of which to answer: see below")
}

// readMoment reads a TIME; a mistake is the caller's.
func readMoment(text string) (moment.Moment, error) {
	m, err := moment.Parse(text, time.Now(), time.Local)
	if err != nil {
		return m, usageError{err}
	}
	return m, nil
}

// question is what an answer about the past is made from.
type question struct {
	*history.History
	bounds history.Bounds
	// known is up to when the record tells: now of one that is still written, the
	// last entry of a copy.
	known time.Time
}

// askPast opens the record that the flags name. Call its release when done.
func askPast(cmd *cobra.Command) (q *question, release func(), err error) {
	h, release, err := openHistory(cmd)
	if err != nil {
		return nil, nil, err
	}
	q = &question{History: h, known: time.Now()}
	if q.bounds, err = h.Bounds(cmd.Context()); err != nil {
		release()
		return nil, nil, fmt.Errorf("finding the ends of the log: %w", err)
	}
	if copied, _ := cmd.Flags().GetString("copy"); copied != "" {
		q.known = q.bounds.To
	}
	return q, release, nil
}

// place finds the log entry of a moment, and says when the moment lies outside
// of the log.
func (q *question) place(ctx context.Context, text string) (at asOf, err error) {
	m, err := readMoment(text)
	if err != nil {
		return at, err
	}
	b := &q.bounds
	if at.Seq = m.Seq; !m.Log {
		if at.Seq, err = q.SeqAt(ctx, m.Time); err != nil {
			return at, err
		}
	}
	switch {
	case b.Last == 0:
		at.Warning = "the log is empty"
	case at.Seq+1 < b.First:
		return at, fmt.Errorf("%s is before log entry %d, received %s, the first that is kept: what was then is not known here", text, b.First, stamp(b.From))
	case at.Seq < b.First:
		at.Warning = fmt.Sprintf("%s is before the log's first entry, received %s: nothing was known then", text, stamp(b.From))
	case at.Seq > b.Last:
		at.Seq, at.Warning = b.Last, fmt.Sprintf("the log ends with entry %d, received %s", b.Last, stamp(b.To))
	case !m.Log && text != "now" && m.Time.After(q.known):
		at.Warning = fmt.Sprintf("%s is after what is known, which ends %s", text, stamp(q.known))
	}
	at.Last = at.Seq > 0 && at.Seq == b.Last
	if at.Seq > 0 {
		at.Time, err = q.received(ctx, at.Seq)
	}
	return at, err
}

// received is when an entry of the log was received.
func (q *question) received(ctx context.Context, seq uint64) (time.Time, error) {
	switch seq {
	case q.bounds.First:
		return q.bounds.From, nil
	case q.bounds.Last:
		return q.bounds.To, nil
	}
	for e, err := range q.Entries(ctx, seq) {
		return e.Event.Received, err
	}
	return time.Time{}, nil
}

// stateAt is the state at a moment of the record that the flags name, and which
// entry that is.
func stateAt(cmd *cobra.Command, moment string) (*scheduler.State, asOf, error) {
	if _, err := readMoment(moment); err != nil {
		return nil, asOf{}, err // before anything is opened
	}
	q, release, err := askPast(cmd)
	if err != nil {
		return nil, asOf{}, err
	}
	defer release()
	at, err := q.place(cmd.Context(), moment)
	if err != nil {
		return nil, at, err
	}
	s, err := q.StateAt(cmd.Context(), at.Seq)
	return s, at, err
}

// print prints what an answer is as of, and warns.
func (a asOf) print(cmd *cobra.Command) {
	if a.Warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "taskwall: warning: "+a.Warning)
	}
	fmt.Fprintln(cmd.OutOrStdout(), a.String())
}

// worldThen is a state as questions about verdicts see it.
func worldThen(s *scheduler.State) *explain.World {
	endpoints := s.Endpoints()
	w := explain.Of(s.Resolver(), endpoints, s.Commits())
	for _, e := range endpoints {
		for _, task := range s.Tasks(e.ID) {
			if !strings.HasSuffix(e.ID, "/"+task) {
				w.NameTask(task, e.ID)
			}
		}
	}
	return w
}

// timeHelp ends the help of commands that take a TIME.
const timeHelp = "\n\n" + moment.Help
