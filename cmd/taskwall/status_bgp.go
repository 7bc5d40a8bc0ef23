package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func statusBGPCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bgp [HOST]",
		Short: "Show the BGP sessions of all hosts, or of one",
		Long: `Show every BGP session that a host should have: its state as the host last
reported it, since when, and how many prefixes go in and out.

STATE is established, or how far the session is: idle, connect, active, opensent,
openconfirm; "unknown" until the host reports it. IN counts the prefixes that
the peer offers and, after the slash, those that are taken; OUT those that it is
given. CHANGES counts how often it went up or down. What is refused, and why the last session ended, is written below.

The exit status is 1 when a session of a host that is ready is not established.`,
		Example: `  taskwall status bgp
  taskwall status bgp node-7
  taskwall status bgp -o json | jq '.hosts[].sessions[] | select(.state != "established")'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := ask[scheduler.BGPView](cmd, "taskwall status bgp", controller.SubjectSessions, struct{}{})
			if err != nil {
				return err
			}
			if len(args) == 1 {
				v.Hosts = slices.DeleteFunc(v.Hosts, func(h scheduler.HostBGPView) bool { return h.Host != args[0] })
				if len(v.Hosts) == 0 {
					return fmt.Errorf("no host %q speaks BGP; taskwall status shows the hosts", args[0])
				}
			}
			asJSON, _ := wantsJSON(cmd)
			return reply(cmd, asJSON, v, downSessions(v) > 0, func(w io.Writer) error { return printBGP(w, v, time.Now()) })
		},
	}
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// downSessions counts those that should be up and are not.
func downSessions(v scheduler.BGPView) (down int) {
	for _, h := range v.Hosts {
		for _, s := range h.Sessions {
			if h.State == "ready" && s.State != "established" {
				down++
			}
		}
	}
	return down
}

func printBGP(w io.Writer, v scheduler.BGPView, now time.Time) error {
	if len(v.Hosts) == 0 {
		fmt.Fprintln(w, "No host speaks BGP: without a BGPConfiguration all routes are static.")
		return nil
	}
	rows := [][]string{{"HOST", "AS", "PEER", "ADDRESS", "PEER AS", "STATE", "SINCE", "IN", "OUT", "CHANGES"}}
	var notes []string
	for _, h := range v.Hosts {
		as := strconv.FormatUint(uint64(h.ASN), 10)
		if len(h.Sessions) == 0 {
			rows = append(rows, []string{h.Host, as, "-", "-", "-", h.State})
		}
		for _, s := range h.Sessions {
			since := "-"
			if !s.Since.IsZero() {
				since = age(now.Sub(s.Since))
			}
			rows = append(rows, []string{h.Host, as, s.Peer, s.Address.String(), strconv.FormatUint(uint64(s.ASN), 10), s.State, since,
				fmt.Sprintf("%d/%d", s.Received, s.Accepted), strconv.Itoa(s.Sent), strconv.Itoa(s.Flaps)})
			if s.Error != "" {
				notes = append(notes, fmt.Sprintf("%s, %s: the last session ended: %s", h.Host, s.Peer, s.Error))
			}
			if s.Refused > 0 {
				what := "routes"
				if s.RefusedPrefix.IsValid() {
					what = s.RefusedPrefix.String() + " and others"
				}
				if s.Refused == 1 {
					what = s.RefusedPrefix.String()
				}
				notes = append(notes, fmt.Sprintf("%s, %s: refused %d times, last %s: %s", h.Host, s.Peer, s.Refused, what, s.RefusedReason))
			}
		}
		if d := h.Drain; d != nil {
			notes = append(notes, fmt.Sprintf("%s is drained by %s for %s%s", h.Host, d.By, age(now.Sub(d.Since)), because(d.Reason)))
		}
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	for i, n := range notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, n)
	}
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
