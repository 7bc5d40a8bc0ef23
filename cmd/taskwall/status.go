package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/strict"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show hosts, tasks, addresses, postures and lag",
		Long: `Show what the leading controller knows: hosts and how far each has come with its
work, tasks with their address and posture, pools, and the sources of events;
the controllers that fold along, and how the log is kept.

A controller is behind by the entries of the log that it has not folded, or of
which the work items are not published. LAG is the number of work items that a host has not yet reported as applied.
A host is SILENT when nothing was heard of its taskwall agent for longer than 35 s:
agents say that they live every 10 s. Of one that is "not heard yet", since the
leading controller has just started, nothing is known but what the log says.
A posture is the set of policies that apply to a task.`,
		Example: `  taskwall status
  taskwall status -o json | jq '.endpoints[] | select(.app == "/shop/web") | .address'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := ask[controller.Status](cmd, "taskwall status", controller.SubjectStatus, struct{}{})
			if err != nil {
				return err
			}
			if asJSON, _ := wantsJSON(cmd); asJSON {
				return printJSON(cmd.OutOrStdout(), st)
			}
			return printStatus(cmd.OutOrStdout(), st, time.Now())
		},
	}
	natsFlags(cmd)
	outputFlag(cmd)
	cmd.AddCommand(statusBGPCommand())
	return cmd
}

func printStatus(w io.Writer, st controller.Status, now time.Time) error {
	printControllers(w, st, now)
	for _, s := range st.Sources {
		state := "connected to " + s.Peer
		if !s.Connected {
			state = "NOT CONNECTED: " + dash(strict.Visible(s.Error, ""))
		}
		doing := ""
		if s.Doing != "" {
			doing = "; " + s.Doing
		}
		fmt.Fprintf(w, "Source %s: %s, for %s%s.\n", s.Name, state, age(now.Sub(s.Since)), doing)
	}
	printKeeping(w, st.Log, now)
	if r := st.Refusal; r != nil {
		why := strict.Visible(r.Error, "")
		if why == "" { // the controller started later
			why = fmt.Sprintf("see 'taskwall audit timeline --policy NAME --from seq:%d --to seq:%d'", r.Seq, r.Seq)
		}
		fmt.Fprintf(w, "The policy change at log entry %d was refused: %s\n", r.Seq, why)
	}
	endpoints := slices.Clone(st.Endpoints)
	slices.SortStableFunc(endpoints, func(a, b scheduler.EndpointView) int { return strings.Compare(a.App, b.App) })
	problems := append(sourceProblems(st), hostProblems(st, now)...)
	refused := [][]string{{"REFUSED LABEL", "VALUE", "GUARD", "APP", "TASK"}}
	for _, e := range endpoints {
		for _, r := range e.Refused {
			refused = append(refused, []string{r.Label, dash(r.Value), r.Guard, e.App, e.Task})
		}
		if e.Problem != "" {
			problems = append(problems, fmt.Sprintf("%s on %s: %s", e.Task, e.Host, e.Problem))
		}
	}
	hosts, tasks, postures, pools := hostRows(st), taskRows(endpoints), postureRows(st.Postures), poolRows(st.Pools)
	for _, rows := range [][][]string{hosts, tasks, postures, pools, refused} {
		if len(refused) == 1 && &rows[0] == &refused[0] {
			continue
		}
		fmt.Fprintln(w)
		if err := table(w, rows...); err != nil {
			return err
		}
	}
	for i, p := range problems {
		if i == 0 {
			fmt.Fprintln(w, "\nProblems:")
		}
		fmt.Fprintln(w, "  "+strict.Visible(p, ""))
	}
	return nil
}

// sourceProblems are what the sources cannot see or tell apart.
func sourceProblems(st controller.Status) (problems []string) {
	for _, s := range st.Sources {
		for _, t := range s.Trouble {
			problems = append(problems, fmt.Sprintf("source %s: %s", s.Name, t))
		}
	}
	return problems
}

// hostProblems are the agents of which nothing is heard, what is wrong on hosts, and
// what of their last items they could not apply.
func hostProblems(st controller.Status, now time.Time) (problems []string) {
	for _, h := range st.Hosts {
		a := st.Agents[h.Name]
		if a.Silent > 0 {
			heard := "not since this controller began to listen, " + age(a.Silent) + " ago"
			if !a.Heard.IsZero() {
				heard = "last " + age(now.Sub(a.Heard)) + " ago"
			}
			problems = append(problems, fmt.Sprintf("host %s: nothing is heard of its taskwall agent, %s: "+
				"what is in its kernel stays in force, but no change reaches it and no task gets a network", h.Name, heard))
		}
		for _, t := range a.Trouble {
			problems = append(problems, fmt.Sprintf("host %s: %s", h.Name, t))
		}
		for _, f := range a.Failed {
			problems = append(problems, fmt.Sprintf("host %s could not apply a part of revision %d: %s", h.Name, a.Applied, f))
		}
	}
	return problems
}

// hostRows has a column for BGP, sessions established of those wanted, once a
// host speaks it.
func hostRows(st controller.Status) [][]string {
	bgp := slices.ContainsFunc(st.Hosts, func(h scheduler.HostView) bool { return h.Routing == "bgp" })
	head := []string{"HOST", "ADDRESS", "STATE", "TASKS", "ENDING", "POSTURES", "SETS", "REV", "LAG", "LAST APPLY"}
	if bgp {
		head = append(head, "BGP")
	}
	rows := [][]string{append(head, "BLOCKS")}
	for _, h := range st.Hosts {
		a := st.Agents[h.Name]
		lag, took := "-", "-"
		if a.Applied > 0 {
			lag = strconv.FormatUint(h.Rev-min(h.Rev, a.Applied), 10)
		}
		if a.Took > 0 { // else only a sign of life has said so
			took = a.Took.Round(10 * time.Microsecond).String()
		}
		state := h.State
		if h.Drain != nil {
			state += ", drained"
		}
		switch {
		case a.Silent > 0:
			state += ", SILENT " + age(a.Silent)
		case h.State == "ready" && a.Applied == 0 && a.Heard.IsZero(): // what is wrong on it is not known yet
			state += ", not heard yet"
		}
		row := []string{
			h.Name, dash(addr(h.Address)), state, strconv.Itoa(h.Endpoints), strconv.Itoa(h.Ending),
			strconv.Itoa(h.Postures), strconv.Itoa(h.Sets), strconv.FormatUint(h.Rev, 10), lag, took,
		}
		switch {
		case bgp && h.Routing == "bgp":
			row = append(row, fmt.Sprintf("%d/%d", h.Established, h.Sessions))
		case bgp:
			row = append(row, h.Routing)
		}
		var blocks []string
		for _, b := range h.Blocks {
			blocks = append(blocks, b.String())
		}
		rows = append(rows, append(row, dash(strings.Join(blocks, " "))))
	}
	return rows
}

// taskRows is a table of tasks.
func taskRows(endpoints []scheduler.EndpointView) [][]string {
	rows := [][]string{{"APP", "ENVIRONMENT", "HOST", "ADDRESS", "STATE", "WIRING", "POSTURE", "TASK"}}
	for _, e := range endpoints {
		posture := "closed"
		if e.Posture != "" {
			posture = e.Posture
		}
		rows = append(rows, []string{e.App, dash(e.Environment), e.Host, dash(addr(e.Address)),
			strings.TrimPrefix(e.State, "TASK_"), dash(string(e.Wiring)), posture, e.Task})
	}
	return rows
}

// postureRows is a table of postures.
func postureRows(postures []scheduler.PostureView) [][]string {
	rows := [][]string{{"POSTURE", "TASKS", "HOSTS", "POLICIES"}}
	for _, p := range postures {
		rows = append(rows, []string{p.ID, strconv.Itoa(p.Endpoints), strconv.Itoa(p.Hosts), strings.Join(p.Policies, ", ")})
	}
	return rows
}

// poolRows is a table of pools.
func poolRows(pools []scheduler.PoolView) [][]string {
	rows := [][]string{{"POOL", "NETWORK", "BLOCKS", "IN USE", "HELD BACK"}}
	for _, p := range pools {
		rows = append(rows, []string{p.Name, p.CIDR.String(), strconv.Itoa(p.Blocks), strconv.Itoa(p.Used), strconv.Itoa(p.Held)})
	}
	return rows
}

func addr(a interface {
	IsValid() bool
	String() string
}) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
