package whatif

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// Reached is who could reach the chosen parties in a stretch, and whom they
// could reach.
type Reached struct {
	In  []Reach `json:"in"`
	Out []Reach `json:"out"`
	// Never are those of the asked names that nobody had in the stretch.
	Never []string `json:"never,omitempty"`
}

// Reach is a flow that was allowed, with when.
type Reach struct {
	Flow
	Times []Time `json:"times"`
}

// Has tells whether a party is that of a name, of a list of them.
func (p *Party) Has(name string) bool {
	return name == p.App && p.App != "" || name == p.Network && p.Network != "" || slices.Contains(p.Sets, name)
}

// Reaches says who could reach the parties of some names, and whom they could
// reach: apps by their ids, networks by the names of their network sets or as
// they are written there. Of the options, the resources and reports do not
// count. It asks what policies that allow nothing would have denied.
func Reaches(ctx context.Context, o Options, names []string) (*Reached, error) {
	o.Resources, o.Reports = nil, none
	r := newReplay(o)
	had := map[string]bool{}
	r.seen = func(p Party) {
		for _, n := range names {
			had[n] = had[n] || p.Has(n)
		}
	}
	chosen := func(p Party) bool { return slices.ContainsFunc(names, p.Has) }
	r.wanted = func(from, to Party) bool { return chosen(from) || chosen(to) }
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	rep := r.report()
	out := &Reached{In: []Reach{}, Out: []Reach{}}
	for _, n := range names {
		if !had[n] {
			out.Never = append(out.Never, n)
		}
	}
	for i := range rep.Flows {
		f := r.flows[rep.Flows[i].key()]
		one := Reach{Flow: f.Flow, Times: f.times}
		one.Change = ""
		if chosen(f.To) {
			out.In = append(out.In, one)
		}
		if chosen(f.From) {
			out.Out = append(out.Out, one)
		}
	}
	order := func(a, b Reach) int {
		return cmp.Or(strings.Compare(a.To.String(), b.To.String()), strings.Compare(a.From.String(), b.From.String()), strings.Compare(a.Ports, b.Ports))
	}
	slices.SortFunc(out.In, order)
	slices.SortFunc(out.Out, order)
	return out, nil
}

var none iter.Seq2[work.StoredReport, error] = func(func(work.StoredReport, error) bool) {}

// key tells flows apart.
func (f *Flow) key() string {
	return strings.Join([]string{string(f.Change), f.From.String(), f.To.String(), f.Ports}, "\x00")
}
