package main

import (
	"github.com/spf13/cobra"

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

Exit status 0 when nothing changes, 1 when something does.`,
		Example: `  taskwall policy diff policies/
  taskwall policy diff policies-main/ policies/ --endpoints endpoints.yaml`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
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
			report, err := diff.Compare(before, after)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !report.Empty() {
				return errNo
			}
			return err
		},
	}
	cmd.Flags().String("endpoints", "", "YAML `file` of endpoints, instead of those that run; see 'taskwall policy endpoints'")
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}
