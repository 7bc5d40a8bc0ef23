package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/verify"
)

func testCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Try a file of expectations: who may reach whom, and who may not",
		Long: `Try a file of expectations against policies and endpoints. Each says from, to, port
and the verdict; ends are named by app, id, selector, address, or imagined by
their labels. For each failure the rule that decided is shown.

  expect:
    - name: web asks payments
      from: {app: /shop/web}
      to: {app: /shop/payments}
      port: 8443
      verdict: allow

Exit status 1 when an expectation fails.`,
		Example: `  taskwall policy test expectations.yaml --policies policies/ --endpoints endpoints.yaml
  taskwall policy test expectations.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			file, err := verify.Load(args[0])
			if err != nil {
				return err
			}
			w, err := world(cmd)
			if err != nil {
				return err
			}
			report := file.Run(w)
			return reply(cmd, asJSON, report, report.Failed > 0, func(w io.Writer) error { return report.WriteText(w, args[0]) })
		},
	}
	worldFlags(cmd)
	outputFlag(cmd)
	return cmd
}
