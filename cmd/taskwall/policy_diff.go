package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/policy/diff"
)

func diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff [OLD] NEW",
		Short: "Say which flows between which apps a change of policies allows and denies",
		Long: `Compare two directories of policies, or with one directory the policies in force
with it, for the endpoints that run or those of a file: which flows become
allowed, which denied, grouped by app, with counts of tasks. What staged policies
would change is shown as "would".

With --replay the question is what the policies would have changed in the past:
the log of the last days is replayed against them; see 'taskwall audit what-if'.

Exit status 0 when nothing changes, 1 when something does.`,
		Example: `  taskwall policy diff policies/
  taskwall policy diff policies-main/ policies/ --endpoints endpoints.yaml
  taskwall policy diff policies/ --replay 30d`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			if span, _ := cmd.Flags().GetString("replay"); span != "" {
				return replayDiff(cmd, args, span)
			}
			old := ""
			if len(args) == 2 {
				old = args[0]
			}
			before, err := worldOf(cmd, old)
			if err != nil {
				return err
			}
			after, err := worldOf(cmd, args[len(args)-1])
			if err != nil {
				return err
			}
			report, err := diff.Compare(cmd.Context(), before, after)
			if err != nil {
				return err
			}
			return reply(cmd, asJSON, report, !report.Empty(), report.WriteText)
		},
	}
	cmd.Flags().String("endpoints", "", "YAML `file` of endpoints, instead of those that run; see 'taskwall policy endpoints'")
	cmd.Flags().String("replay", "", "replay the log from `TIME` on, such as 30d for the last thirty days, instead of looking at what runs")
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// replayDiff replays the past against the policies of a directory.
func replayDiff(cmd *cobra.Command, args []string, text string) error {
	if file, _ := cmd.Flags().GetString("endpoints"); file != "" || len(args) != 1 {
		return usageError{errors.New("--replay takes the tasks and the policies of the past from the log: give one directory, and no --endpoints")}
	}
	h, release, err := openHistory(cmd)
	if err != nil {
		return err
	}
	defer release()
	b, err := h.Bounds(cmd.Context())
	if err != nil {
		return err
	}
	to := nowOf(cmd)
	if to.IsZero() {
		to = b.To
	}
	if span := strings.TrimPrefix(text, "-"); !strings.ContainsAny(span, " :") && strings.TrimLeft(span, "0123456789ywdhms") == "" {
		text = span + " ago"
	}
	m, err := moment.Parse(text, to, time.Local)
	if err != nil {
		return usageError{fmt.Errorf("--replay: %w", err)}
	}
	from := m.Time
	if m.Log {
		if from, err = parseMoment(cmd.Context(), "--replay", text, h); err != nil {
			return err
		}
	}
	if from.Before(b.From) {
		from = b.From
	}
	if !from.Before(to) {
		return usageError{fmt.Errorf("--replay %s: nothing is known from %s on, the log ends %s", text, stamp(from), stamp(to))}
	}
	return whatIf(cmd, h, args[0], from, to)
}
