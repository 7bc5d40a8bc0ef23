package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/explain"
)

func explainThenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say whether one could reach the other at a time, and which rule decided",
		Long: `Say whether --from could reach a port of --to at a time, and for each end which
tier, policy and rule decided, in which file and line it is written, as which
commit, by whom and since when it was in force.

What --from and --to name: ` + explain.FindHelp + `.
Of several tasks it is the first pair, and told is how many of the others have
another verdict. The port is a number (TCP), 53/udp, icmp, or the
name of one of the receiver's ports. Exit status 1 when it was denied.` + timeHelp,
		Example: `  taskwall audit explain --from /shop/web --to /shop/payments --port 8443 --at "2026-03-14 14:03"
  taskwall audit explain --from 10.8.3.17 --to label:pci=true --port 5432 --at -30d --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			from, _ := cmd.Flags().GetString("from")
			to, _ := cmd.Flags().GetString("to")
			port, _ := cmd.Flags().GetString("port")
			when, _ := cmd.Flags().GetString("at")
			all, _ := cmd.Flags().GetBool("all")
			if from == "" || to == "" || port == "" {
				return usageError{errors.New("give --from WHO, --to WHO and --port PORT")}
			}
			s, at, err := stateAt(cmd, when)
			if err != nil {
				return err
			}
			w := worldThen(s)
			answer, err := w.Explain(from, to, port, all)
			if err != nil {
				return at.unknown(err, w, from, to)
			}
			return reply(cmd, asJSON, struct {
				AsOf asOf `json:"asOf"`
				*explain.Answer
			}{at, answer}, !answer.Allowed, func(w io.Writer) error {
				at.print(cmd)
				return answer.WriteText(w)
			})
		},
	}
	cmd.Flags().String("from", "", "`WHO` sends")
	cmd.Flags().String("to", "", "`WHO` receives")
	cmd.Flags().String("port", "", "`PORT` that is asked for")
	cmd.Flags().BoolP("all", "v", false, "show all rules that were considered")
	atFlag(cmd)
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}
