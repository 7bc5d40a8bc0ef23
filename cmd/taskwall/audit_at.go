package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/scheduler"
)

func atCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "at TIME",
		Short: "Show the cluster as it was: tasks, addresses, hosts, postures, pools",
		Long: `Fold the log up to a time and show the cluster as the controller knew it then:
hosts, tasks with their address, state, wiring and posture, the policies of each
posture, and the pools. The filters leave the tasks that match all of them, with
their hosts and postures.

The answer says which log entry it is as of. It warns when TIME lies before the
log's first entry or after its last. Exit status 1 when no task matches the
filters.` + timeHelp,
		Example: `  taskwall audit at "2026-03-14 14:03"
  taskwall audit at -30d --app /shop/web
  taskwall audit at seq:4711 --host node-7 -o json
  taskwall audit at "2h ago" --label tier=front --label team=shop
  taskwall audit at now --address 10.8.0.0/16 --copy /media/audit`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			keep, filtered, err := taskFilter(cmd)
			if err != nil {
				return err
			}
			s, at, err := stateAt(cmd, args[0])
			if err != nil {
				return err
			}
			v := s.View()
			near := ""
			if filtered {
				near = meantBy(cmd, &v)
				narrow(&v, keep)
			}
			return reply(cmd, asJSON, struct {
				AsOf asOf `json:"asOf"`
				scheduler.View
			}{at, v}, filtered && len(v.Endpoints) == 0, func(w io.Writer) error {
				at.print(cmd)
				if filtered && len(v.Endpoints) == 0 {
					_, err := fmt.Fprintf(w, "No task matches%s\n", cmp.Or(near, "."))
					return err
				}
				return printView(cmd, v, filtered)
			})
		},
	}
	cmd.Flags().String("app", "", "only tasks of this app")
	cmd.Flags().String("host", "", "only tasks on this host")
	cmd.Flags().StringArray("label", nil, "only tasks with this label, as `key=value`, or key whatever its value")
	cmd.Flags().String("address", "", "only tasks with this address, or in this network")
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// taskFilter is what the flags ask for; filtered is false when it is all.
func taskFilter(cmd *cobra.Command) (keep func(*scheduler.EndpointView) bool, filtered bool, err error) {
	app, _ := cmd.Flags().GetString("app")
	host, _ := cmd.Flags().GetString("host")
	labels, _ := cmd.Flags().GetStringArray("label")
	text, _ := cmd.Flags().GetString("address")
	var in netip.Prefix
	if text != "" {
		if a, err := netip.ParseAddr(text); err == nil {
			in = netip.PrefixFrom(a, a.BitLen())
		} else if in, err = netip.ParsePrefix(text); err != nil {
			return nil, false, usageError{fmt.Errorf("--address %q: write an address such as 10.8.3.17, or a network such as 10.8.0.0/16", text)}
		}
	}
	keep = func(e *scheduler.EndpointView) bool {
		if app != "" && e.App != app || host != "" && e.Host != host || in.IsValid() && !in.Contains(e.Address) {
			return false
		}
		for _, l := range labels {
			key, value, hasValue := strings.Cut(l, "=")
			if v, carries := e.Labels[key]; !carries || hasValue && v != value {
				return false
			}
		}
		return true
	}
	return keep, app != "" || host != "" || len(labels) > 0 || in.IsValid(), nil
}

// meantBy says which app or host may be meant by a filter that names none.
func meantBy(cmd *cobra.Command, v *scheduler.View) string {
	var apps, hosts []string
	for _, e := range v.Endpoints {
		apps = append(apps, e.App)
	}
	for _, h := range v.Hosts {
		hosts = append(hosts, h.Name)
	}
	for _, flag := range []string{"app", "host"} {
		known := map[string][]string{"app": apps, "host": hosts}[flag]
		if name, _ := cmd.Flags().GetString(flag); name != "" && !slices.Contains(known, name) {
			slices.Sort(known)
			return meant(name, slices.Compact(known))
		}
	}
	return ""
}

// narrow leaves the tasks to keep, with their hosts and postures.
func narrow(v *scheduler.View, keep func(*scheduler.EndpointView) bool) {
	v.Endpoints = slices.DeleteFunc(v.Endpoints, func(e scheduler.EndpointView) bool { return !keep(&e) })
	hosts, postures := map[string]bool{}, map[string]bool{}
	for _, e := range v.Endpoints {
		hosts[e.Host], postures[e.Posture] = true, true
	}
	v.Hosts = slices.DeleteFunc(v.Hosts, func(h scheduler.HostView) bool { return !hosts[h.Name] })
	v.Postures = slices.DeleteFunc(v.Postures, func(p scheduler.PostureView) bool { return !postures[p.ID] })
}

func printView(cmd *cobra.Command, v scheduler.View, filtered bool) error {
	w := cmd.OutOrStdout()
	hosts := [][]string{{"HOST", "ADDRESS", "STATE", "TASKS", "ENDING", "POSTURES", "SETS", "REV", "BLOCKS"}}
	for _, h := range v.Hosts {
		var blocks []string
		for _, b := range h.Blocks {
			blocks = append(blocks, b.String())
		}
		hosts = append(hosts, []string{
			h.Name, dash(addr(h.Address)), h.State, strconv.Itoa(h.Endpoints), strconv.Itoa(h.Ending),
			strconv.Itoa(h.Postures), strconv.Itoa(h.Sets), strconv.FormatUint(h.Rev, 10), dash(strings.Join(blocks, " ")),
		})
	}
	endpoints := slices.Clone(v.Endpoints)
	slices.SortStableFunc(endpoints, func(a, b scheduler.EndpointView) int { return strings.Compare(a.App, b.App) })
	tables := [][][]string{hosts, taskRows(endpoints), postureRows(v.Postures)}
	if !filtered {
		tables = append(tables, poolRows(v.Pools))
	}
	for _, rows := range tables {
		fmt.Fprintln(w)
		if err := table(w, rows...); err != nil {
			return err
		}
	}
	for i, e := range slices.DeleteFunc(endpoints, func(e scheduler.EndpointView) bool { return e.Problem == "" }) {
		if i == 0 {
			fmt.Fprintln(w, "\nProblems:")
		}
		fmt.Fprintf(w, "  %s on %s: %s\n", e.Task, e.Host, e.Problem)
	}
	return nil
}
