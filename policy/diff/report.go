package diff

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// report puts the flows of an app's classes together: those with equal ports
// are one flow, with the tasks of all of them.
func (f *flows) report() *Report {
	type key struct {
		fromApp, fromEnv, fromNet, toApp, toEnv, toNet string
		allowed                                        bool
		ports                                          string
	}
	type sum struct {
		Flow
		from, to map[*class]bool
	}
	sums := map[key]*sum{}
	var order []key
	for _, one := range f.list {
		k := key{one.from.App, one.from.Environment, one.from.Network, one.to.App, one.to.Environment, one.to.Network, one.allowed, one.ports}
		s := sums[k]
		if s == nil {
			s = &sum{Flow: Flow{From: one.from.Group, To: one.to.Group, Ports: one.ports, Why: one.why}, from: map[*class]bool{one.from: true}, to: map[*class]bool{one.to: true}}
			sums[k] = s
			order = append(order, k)
			continue
		}
		if !s.from[one.from] {
			s.from[one.from] = true
			s.From.Tasks += one.from.Tasks
		}
		if !s.to[one.to] {
			s.to[one.to] = true
			s.To.Tasks += one.to.Tasks
		}
	}
	r := &Report{Allowed: []Flow{}, Denied: []Flow{}}
	for _, k := range order {
		if k.allowed {
			r.Allowed = append(r.Allowed, sums[k].Flow)
		} else {
			r.Denied = append(r.Denied, sums[k].Flow)
		}
	}
	for _, list := range [][]Flow{r.Allowed, r.Denied} {
		slices.SortStableFunc(list, func(a, b Flow) int {
			return cmp.Or(a.From.compare(&b.From), a.To.compare(&b.To), strings.Compare(a.Ports, b.Ports))
		})
	}
	return r
}

// WriteText writes the report for people.
func (r *Report) WriteText(out io.Writer) error {
	var b strings.Builder
	r.write(&b, "becomes")
	if r.Staged != nil {
		b.WriteString("\nIf the staged policies were in force:\n")
		r.Staged.write(&b, "would become")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (r *Report) write(b *strings.Builder, verb string) {
	if r.Empty() {
		b.WriteString("No flow changes.\n")
		return
	}
	section := func(list []Flow, what string) {
		for _, f := range list {
			fmt.Fprintf(b, "%s %s  %s -> %s  %s\n    %s\n", verb, what, &f.From, &f.To, f.Ports, f.Why)
		}
	}
	section(r.Denied, "DENIED ")
	section(r.Allowed, "ALLOWED")
	fmt.Fprintf(b, "%d flows %s allowed, %d denied.\n", len(r.Allowed), map[string]string{"becomes": "become", "would become": "would become"}[verb], len(r.Denied))
}
