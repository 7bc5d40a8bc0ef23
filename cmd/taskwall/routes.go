package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes [NETWORK]",
		Short: "Show which host has which addresses, and the ways to them",
		Long: `Show the networks that tasks have their addresses from: the host and the pool of
each, and whether other hosts get there by BGP or by static routes. An address
or a network narrows it to what lies in it or around it.

With --from, show each way that one host has there: by which peer, to which next
hop, which one is chosen and why the others are not. It is told from the sessions
that hosts report; what a router passes on is seen on the host only, by
"ip route show proto 85".

The exit status is 1 when there is a network that nobody can reach.`,
		Example: `  taskwall routes
  taskwall routes 10.8.3.17 --from node-7
  taskwall routes -o json | jq '.routes[] | select(.problem)'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, _ := cmd.Flags().GetString("from")
			var only string
			if len(args) == 1 {
				only = args[0]
			}
			wanted, err := within(only)
			if err != nil {
				return usageError{err}
			}
			answer, err := ask[controller.Routes](cmd, "taskwall routes", controller.SubjectRoutes, controller.RoutesQuestion{From: from})
			if err != nil {
				return err
			}
			routes := answer.Routes[:0]
			unreachable := false
			for _, r := range answer.Routes {
				if wanted(r.Prefix) {
					routes = append(routes, r)
					unreachable = unreachable || r.Mode == "bgp" && r.Sessions > 0 && r.Established == 0 ||
						from != "" && r.Mode != "none" && !reached(r.Paths)
				}
			}
			answer.Routes = routes
			asJSON, _ := wantsJSON(cmd)
			return reply(cmd, asJSON, answer, unreachable, func(w io.Writer) error { return printRoutes(w, answer.Routes, from) })
		},
	}
	cmd.Flags().String("from", "", "show the ways that this `host` has")
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// within makes a filter of an address or network; "" takes all.
func within(text string) (func(netip.Prefix) bool, error) {
	if text == "" {
		return func(netip.Prefix) bool { return true }, nil
	}
	p, err := resource.ParseNet(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither an address nor a network", text)
	}
	return func(r netip.Prefix) bool { return r.Overlaps(p) }, nil
}

func reached(paths []scheduler.PathView) bool {
	for _, p := range paths {
		if p.Chosen {
			return true
		}
	}
	return false
}

func printRoutes(w io.Writer, routes []scheduler.RouteView, from string) error {
	if len(routes) == 0 {
		fmt.Fprintln(w, "There are none: a host gets a block with its first task.")
		return nil
	}
	if from == "" {
		rows := [][]string{{"NETWORK", "POOL", "HOST", "NEXT HOP", "MODE", "SESSIONS", "COMMUNITIES", "PROBLEM"}}
		for _, r := range routes {
			sessions := "-"
			if r.Mode == "bgp" {
				sessions = fmt.Sprintf("%d/%d", r.Established, r.Sessions)
			}
			rows = append(rows, []string{r.Prefix.String(), dash(r.Pool), r.Host, dash(addr(r.NextHop)), r.Mode, sessions,
				dash(strings.Join(r.Communities, " ")), r.Problem})
		}
		return table(w, rows...)
	}
	rows := [][]string{{"", "NETWORK", "HOST", "VIA", "NEXT HOP", "WHY"}}
	for _, r := range routes {
		if len(r.Paths) == 0 {
			why := r.Problem
			if why == "" {
				why = "no peer can bring it here"
			}
			rows = append(rows, []string{"", r.Prefix.String(), r.Host, "-", "-", why})
		}
		for _, p := range r.Paths {
			chosen := ""
			if p.Chosen {
				chosen = "*"
			}
			rows = append(rows, []string{chosen, r.Prefix.String(), r.Host, p.Via, dash(addr(p.NextHop)), p.Why})
		}
	}
	return table(w, rows...)
}
