package main

import "github.com/spf13/cobra"

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check, test, diff, explain, apply and show policies",
		Long: `Policies are files in Calico's projectcalico.org/v3 YAML: Tier, GlobalNetworkPolicy,
NetworkPolicy (its namespace is the environment), the staged kinds of both,
GlobalNetworkSet, NetworkSet, IPPool, BGPConfiguration, BGPPeer and BGPFilter; and
one kind of our own, LabelGuard. Two differences, both stricter: a task that no
policy selects is closed in both directions, and unknown fields are errors.`,
	}
	cmd.AddCommand(checkCommand(), testCommand(), explainCommand(), diffCommand(), applyCommand(), getCommand(), endpointsCommand())
	return cmd
}
