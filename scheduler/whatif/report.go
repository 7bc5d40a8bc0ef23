package whatif

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/policy/strict"
)

// Change says which way something would have gone.
type Change string

// The changes.
const (
	Gained Change = "allowed" // it was denied, and would have been allowed
	Lost   Change = "denied"  // it was allowed, and would have been denied
)

// Party is the tasks of an app, or a network of addresses that no task has.
type Party struct {
	App         string   `json:"app,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Network     string   `json:"network,omitempty"`
	Sets        []string `json:"sets,omitempty"` // the network sets that list it
}

// Flow is what one party could have sent to another and could not, or the
// reverse.
type Flow struct {
	Change Change `json:"change,omitempty"`
	From   Party  `json:"from"`
	To     Party  `json:"to"`
	Ports  string `json:"ports"`
	// Lasted is for how long there was at least one such pair of tasks; First
	// and Last are when the first came and the last went.
	Lasted time.Duration `json:"lasted"`
	First  time.Time     `json:"first"`
	Last   time.Time     `json:"last"`
	// PairHours are the pairs of tasks, a sender and a receiver, times the hours
	// for which each was there: two clients and three servers for an hour are 6.
	// A network counts as one. MostPairs is how many there were at once.
	PairHours float64 `json:"pairHours"`
	MostPairs int     `json:"mostPairs"`
	// Rules let it pass: of the other policies when it is allowed, of those that
	// were in force when it is denied.
	Rules []reach.Rule `json:"rules"`

	pairs int
}

// Packets are packets of one kind that hosts reported.
type Packets struct {
	Change Change `json:"change"`
	From   Party  `json:"from"`
	To     Party  `json:"to"`
	Port   string `json:"port"`
	// Count is at least how many there were, in so many reports.
	Count   int       `json:"count"`
	Reports int       `json:"reports"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	// Policy and Index are the rule that decided, or that logged, then.
	Policy string `json:"policy"`
	Index  int    `json:"index"`
}

// Report is what would have been otherwise.
type Report struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Events  int       `json:"events"` // of the log, in the stretch
	Flows   []Flow    `json:"flows"`
	Packets []Packets `json:"packets"`
	// Unknown counts packets of tasks that were not known when their report
	// came: they could not be judged.
	Unknown int `json:"unknown,omitempty"`
}

// Empty reports whether nothing would have been otherwise.
func (r *Report) Empty() bool { return len(r.Flows)+len(r.Packets) == 0 }

func (r *replay) report() *Report {
	rep := &Report{From: r.o.From, To: r.now, Events: r.events, Flows: []Flow{}, Packets: []Packets{}, Unknown: r.unknown}
	for _, c := range r.all {
		for _, p := range c.pairs {
			r.settle(p) // a second time it adds nothing
		}
	}
	for _, f := range r.flows {
		if f.open > 0 {
			f.close(r.now)
		}
		if f.Lasted > 0 {
			rep.Flows = append(rep.Flows, f.Flow)
		}
	}
	for _, p := range r.packets {
		rep.Packets = append(rep.Packets, *p)
	}
	// What is lost is what breaks: it comes first, and the most of it.
	slices.SortFunc(rep.Flows, func(a, b Flow) int {
		return cmp.Or(-strings.Compare(string(a.Change), string(b.Change)), -cmp.Compare(a.PairHours, b.PairHours),
			strings.Compare(a.From.String(), b.From.String()), strings.Compare(a.To.String(), b.To.String()), strings.Compare(a.Ports, b.Ports))
	})
	slices.SortFunc(rep.Packets, func(a, b Packets) int {
		return cmp.Or(-strings.Compare(string(a.Change), string(b.Change)), -cmp.Compare(a.Count, b.Count),
			strings.Compare(a.From.String(), b.From.String()), strings.Compare(a.To.String(), b.To.String()), strings.Compare(a.Port, b.Port))
	})
	return rep
}

// WriteText writes the report for people.
func (r *Report) WriteText(out io.Writer) error {
	fmt.Fprintf(out, "%s to %s, %d events.\n\n", stamp(r.From), stamp(r.To), r.Events)
	if r.Empty() {
		if r.Unknown > 0 {
			fmt.Fprintf(out, "%d packets could not be judged: their tasks were no longer known.\n", r.Unknown)
		}
		_, err := io.WriteString(out, "Nothing would have been otherwise.\n")
		return err
	}
	tw := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if len(r.Flows) > 0 {
		fmt.Fprintln(tw, "WOULD BE\tFROM\tTO\tPORTS\tFOR\tPAIR HOURS\tMOST PAIRS\tALLOWED BY")
		for i := range r.Flows {
			f := &r.Flows[i]
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%.1f\t%d\t%s\n", strings.ToUpper(string(f.Change)), shown(f.From), shown(f.To), f.Ports,
				moment.Span(f.Lasted), f.PairHours, f.MostPairs, rulesText(f.Rules))
		}
	} else {
		fmt.Fprintln(tw, "No flow between apps would have been otherwise.")
	}
	fmt.Fprintln(tw)
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Packets) > 0 {
		fmt.Fprintln(tw, "PACKETS\tFROM\tTO\tPORT\tCOUNT\tFIRST\tLAST\tTHEN DECIDED BY")
		for i := range r.Packets {
			p := &r.Packets[i]
			what := "denied, would be ALLOWED"
			if p.Change == Lost {
				what = "passed, would be DENIED"
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", what, shown(p.From), shown(p.To), p.Port, p.Count, stamp(p.First), stamp(p.Last), ruleText(p.Policy, p.Index))
		}
	} else {
		fmt.Fprintln(tw, "No packet that hosts reported would have gone another way.")
	}
	if r.Unknown > 0 {
		fmt.Fprintf(tw, "%d packets could not be judged: their tasks were no longer known.\n", r.Unknown)
	}
	return tw.Flush()
}

// shown is a party in a cell of a table.
func shown(p Party) string { return strict.Visible(p.String(), "") }

func rulesText(rules []reach.Rule) string {
	parts := make([]string, len(rules))
	for i, r := range rules {
		parts[i] = ruleText(r.Policy, r.Index)
	}
	return strings.Join(parts, ", ")
}

func ruleText(policy string, index int) string {
	switch {
	case policy == "":
		return "no policy"
	case index < 0:
		return "the default of tier " + policy
	}
	return fmt.Sprintf("%s rule %d", policy, index)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
