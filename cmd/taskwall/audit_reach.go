package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/policy/resource"
)

// reachAnswer is the answer to a question of reach.
type reachAnswer struct {
	AsOf  asOf        `json:"asOf"`
	From  string      `json:"from,omitempty"`
	To    string      `json:"to,omitempty"`
	Ports string      `json:"ports,omitempty"` // that was asked for
	Flows []reachFlow `json:"flows"`
}

type reachFlow struct {
	From  reach.Group `json:"from"`
	To    reach.Group `json:"to"`
	Ports string      `json:"ports"` // for people
	Spans []reachSpan `json:"spans"`
}

// reachSpan is a span with the rules' places; of the embedded span's rules,
// which it shadows, only the name is told there.
type reachSpan struct {
	reach.Span
	Egress  *explain.Rule `json:"egress,omitempty"`
	Ingress *explain.Rule `json:"ingress,omitempty"`
}

func reachCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reach",
		Short: "Say who could reach an app, a network set or an address, or what it could reach",
		Long: `Say who could reach something at a time (--to), what it could reach (--from), or
what one could reach of the other (both): apps with the number of their tasks,
network sets and other networks, with the ports, and the rule that let them at
each end.

Between two tasks both ends must agree: the sender's egress and the receiver's
ingress. Of a network outside nothing is known but the task's end. A flow counts
from whatever source port, since a client chooses its own.

What --to and --from name: ` + explain.FindHelp + `.
A port may follow: :8443, :53/udp, :icmp, or :http, a port's name. Exit status 1
when nobody can reach anybody.` + timeHelp,
		Example: `  taskwall audit reach --to /shop/orders-db --at "2026-03-14 14:03"
  taskwall audit reach --to /shop/orders-db:5432 --at -1y -o json
  taskwall audit reach --from label:tier=front
  taskwall audit reach --to 192.0.2.10:1521 --at "2h ago"
  taskwall audit reach --from 0.0.0.0/0 --to label:pci=true`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(cmd)
			if err != nil {
				return err
			}
			from, _ := cmd.Flags().GetString("from")
			to, _ := cmd.Flags().GetString("to")
			if from == "" && to == "" {
				return usageError{errors.New("say of whom: --to WHO (who could reach it), --from WHO (what could it reach), or both")}
			}
			when, _ := cmd.Flags().GetString("at")
			s, at, err := stateAt(cmd, when)
			if err != nil {
				return err
			}
			w := worldThen(s)
			answer, err := askReach(w, from, to)
			if err != nil {
				return at.unknown(err, w, from, to)
			}
			answer.AsOf = at
			if listed, _ := cmd.Flags().GetBool("tasks"); !listed {
				answer.withoutTasks()
			}
			return reply(cmd, asJSON, answer, len(answer.Flows) == 0, func(w io.Writer) error {
				at.print(cmd)
				return answer.print(w)
			})
		},
	}
	cmd.Flags().String("to", "", "`WHO` is reached; a port may follow, as in /shop/db:5432")
	cmd.Flags().String("from", "", "`WHO` reaches; a port that follows is the receiver's")
	cmd.Flags().Bool("tasks", false, "list the tasks of each app, by their endpoints' ids")
	atFlag(cmd)
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

// askReach asks a world. An empty name is everybody.
func askReach(w *explain.World, from, to string) (*reachAnswer, error) {
	source, fromPort, err := sideOf(w, from)
	if err != nil {
		return nil, fmt.Errorf("--from %w", err)
	}
	target, port, err := sideOf(w, to)
	if err != nil {
		return nil, fmt.Errorf("--to %w", err)
	}
	if port == nil {
		port = fromPort
	}
	answer := &reachAnswer{From: from, To: to, Flows: []reachFlow{}}
	var ports *reach.Ports
	if port != nil {
		ports, answer.Ports = portsOf(port), port.String()
	}
	index := reach.New(w.Resolver, w.Endpoints())
	var flows []reach.Flow
	switch {
	case from == "":
		flows = index.To(target, ports)
	case to == "":
		flows = index.From(source, ports)
	default:
		flows = index.Between(source, target, ports)
	}
	for i := range flows {
		f := &flows[i]
		told := reachFlow{From: f.From, To: f.To, Ports: reach.PortsText(f.Spans)}
		for _, s := range f.Spans {
			told.Spans = append(told.Spans, reachSpan{s, ruleOf(w, s.Egress, "egress"), ruleOf(w, s.Ingress, "ingress")})
		}
		answer.Flows = append(answer.Flows, told)
	}
	return answer, nil
}

func sideOf(w *explain.World, name string) (reach.Side, *explain.Port, error) {
	var side reach.Side
	if name == "" {
		return side, nil, nil
	}
	found, port, err := w.FindPort(name)
	if err != nil {
		return side, nil, err
	}
	for _, e := range found.Endpoints {
		side.Endpoints = append(side.Endpoints, e.ID)
	}
	side.Nets = found.Nets
	return side, port, nil
}

func portsOf(p *explain.Port) *reach.Ports {
	n := p.Number
	if p.Protocol == resource.ICMPv4 {
		n = uint16(p.Type<<8 | p.Code)
	}
	return &reach.Ports{Protocol: reach.Protocol(p.Protocol), First: n, Last: n}
}

func ruleOf(w *explain.World, r *reach.Rule, direction string) *explain.Rule {
	if r == nil {
		return nil
	}
	rule := w.Allows(r.Tier, r.Policy, r.Index, direction)
	return &rule
}

func (a *reachAnswer) withoutTasks() {
	for i := range a.Flows {
		a.Flows[i].From.Endpoints, a.Flows[i].To.Endpoints = nil, nil
	}
}

func (a *reachAnswer) print(out io.Writer) error {
	if len(a.Flows) == 0 {
		_, err := fmt.Fprintln(out, "Nobody: no flow passes both ends.")
		return err
	}
	rows := [][]string{{"FROM", "TASKS", "TO", "TASKS", "PORTS", "EGRESS BY", "INGRESS BY"}}
	places := &places{known: map[string]bool{}}
	for i := range a.Flows {
		f := &a.Flows[i]
		for spans := f.Spans; len(spans) > 0; { // those of the same rules are one row
			var same []reach.Span
			rest := spans[:0:0]
			for _, s := range spans {
				if s.SameRules(&spans[0].Span) {
					same = append(same, s.Span)
				} else {
					rest = append(rest, s)
				}
			}
			rows = append(rows, []string{f.From.String(), count(f.From.Tasks), f.To.String(), count(f.To.Tasks), reach.PortsText(same),
				places.note(spans[0].Egress, "egress"), places.note(spans[0].Ingress, "ingress")})
			spans = rest
		}
	}
	fmt.Fprintln(out)
	if err := table(out, rows...); err != nil {
		return err
	}
	for _, line := range places.lines {
		fmt.Fprintln(out, line)
	}
	for i := range a.Flows {
		for _, g := range []*reach.Group{&a.Flows[i].From, &a.Flows[i].To} {
			if len(g.Endpoints) > 0 {
				fmt.Fprintf(out, "\n%s:\n  %s\n", g, strings.Join(g.Endpoints, "\n  "))
			}
		}
	}
	return nil
}

func count(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// places lists where rules were written, each once.
type places struct {
	known map[string]bool
	lines []string
}

// note is the rule in short; its place comes below the table.
func (p *places) note(r *explain.Rule, direction string) string {
	if r == nil {
		return "-"
	}
	name := fmt.Sprintf("%s[%d]", r.Policy, r.Index)
	if at := r.At(); at != "" && !p.known[direction+name] {
		p.known[direction+name] = true
		if len(p.lines) == 0 {
			p.lines = append(p.lines, "")
		}
		line := fmt.Sprintf("%s %s: %s", name, direction, at)
		if o := r.Origin; o != nil && !o.Time.IsZero() {
			line += fmt.Sprintf(", since %s, log entry %d", stamp(o.Time), o.Seq)
		}
		p.lines = append(p.lines, line)
	}
	return name
}
