package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler/controller"
)

func getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get",
		Short:   "List the policies in force",
		Example: "  taskwall policy get\n  taskwall policy get -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := ask[controller.Policy](cmd, "taskwall policy get", controller.SubjectPolicy, struct{}{})
			if err != nil {
				return err
			}
			if asJSON, _ := wantsJSON(cmd); asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			rows := [][]string{{"KIND", "NAMESPACE", "NAME", "WRITTEN AT", "COMMIT", "AUTHOR"}}
			for _, r := range p.Resources {
				at := "-"
				if r.File != "" {
					at = fmt.Sprintf("%s:%d", r.File, r.Line)
				}
				by := p.Commits[r.String()]
				rows = append(rows, []string{r.Kind, dash(r.Namespace), r.Name, at, dash(by.Commit), dash(by.Author)})
			}
			return table(cmd.OutOrStdout(), rows...)
		},
	}
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}
