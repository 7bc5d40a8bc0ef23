package main

import (
	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain FROM TO PORT",
		Short: "Say whether one may reach the other, and which rule decides",
		Long: `Say whether FROM may reach a port of TO, and for each end which tier, policy and
rule decides, where it was written and as which commit it was reviewed.

FROM and TO are an app (its first task), an endpoint's id, or an address. PORT is
a number (TCP), 53/udp, icmp, or the name of one of TO's ports. With --all every
rule that was considered is shown. Exit status 1 when it is denied.`,
		Example: `  taskwall policy explain /shop/web /shop/payments 8443
  taskwall policy explain 10.8.3.17 /shop/orders-db 5432 --all
  taskwall policy explain /shop/web 192.0.2.10 1521 --policies policies/ --endpoints endpoints.yaml`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			w, err := world(cmd)
			if err != nil {
				return err
			}
			all, _ := cmd.Flags().GetBool("all")
			answer, err := w.Explain(args[0], args[1], args[2], all)
			if err != nil {
				return err
			}
			return reply(cmd, asJSON, answer, !answer.Allowed, answer.WriteText)
		},
	}
	cmd.Flags().BoolP("all", "v", false, "show all rules that were considered")
	worldFlags(cmd)
	outputFlag(cmd)
	return cmd
}
