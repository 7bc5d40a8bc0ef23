package bundle

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/scheduler/whatif"
)

//go:embed report.html.tmpl
var page string

// Names and labels are written by whoever writes an app. The template engine
// escapes all of them by where they stand.
var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"span": func(d time.Duration) string { return d.Round(time.Second).String() },
	"join": func(list []string) string { return strings.Join(list, ", ") },
	"rule": func(r reach.Rule) string {
		if r.Index < 0 {
			return "the default of tier " + r.Policy
		}
		return fmt.Sprintf("%s, rule %d", r.Policy, r.Index)
	},
	"hours": func(h float64) string { return fmt.Sprintf("%.1f", h) },
}).Parse(page))

// HTML is the answer as a page that needs nothing beside itself. Equal answers
// give equal bytes.
func HTML(q *Question, a *Answer) ([]byte, error) {
	var out bytes.Buffer
	err := pageTemplate.Execute(&out, struct {
		*Question
		*Answer
		Requirements []Requirement
		InChart      *chart
		OutChart     *chart
	}{q, a, requirements, draw(q, a.In, true), draw(q, a.Out, false)})
	if err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	return out.Bytes(), nil
}

// chart is who could reach whom, and when: parties left and right, a line for
// each flow, and under it a bar for each stretch of time.
type chart struct {
	Width, Height int
	Left, Right   []node
	Lines         []line
	Rows          []row
	More          int // flows that are in the tables alone
}

type node struct {
	X, Y, Width int
	Text        string
}

type line struct{ X1, Y1, X2, Y2 int }

type row struct {
	Y    int
	Text string
	Bars []bar
}

type bar struct{ X, Y, Width int }

const (
	chartWidth = 960
	nodeWidth  = 300
	nodeHeight = 30
	rowHeight  = 24
	barsLeft   = 400
	// maxRows bounds a chart: beyond it nobody can read one.
	maxRows = 60
	// maxText is how many letters fit a node, and a row's name.
	maxText = 40
)

func draw(q *Question, flows []whatif.Reach, in bool) *chart {
	if len(flows) == 0 {
		return nil
	}
	c := &chart{Width: chartWidth}
	if len(flows) > maxRows {
		c.More = len(flows) - maxRows
		flows = flows[:maxRows]
	}
	var from, to []string
	for i := range flows {
		f := &flows[i]
		for _, side := range []struct {
			list *[]string
			name string
		}{{&from, f.From.String()}, {&to, f.To.String()}} {
			if !slices.Contains(*side.list, side.name) {
				*side.list = append(*side.list, side.name)
			}
		}
	}
	c.Left, c.Right = column(from, 0), column(to, chartWidth-nodeWidth)
	drawn := map[line]bool{}
	for i := range flows {
		a, b := slices.Index(from, flows[i].From.String()), slices.Index(to, flows[i].To.String())
		l := line{nodeWidth, c.Left[a].Y + nodeHeight/2 - 3, chartWidth - nodeWidth - 8, c.Right[b].Y + nodeHeight/2 - 3}
		if !drawn[l] {
			drawn[l] = true
			c.Lines = append(c.Lines, l)
		}
	}
	top := (max(len(from), len(to))+1)*nodeHeight + 10
	whole := q.To.Sub(q.From).Seconds()
	place := func(t time.Time) int {
		part := t.Sub(q.From).Seconds() / whole
		return barsLeft + int(min(max(part, 0), 1)*(chartWidth-barsLeft))
	}
	for i := range flows {
		f := &flows[i]
		other := f.From.String()
		if !in {
			other = f.To.String()
		}
		r := row{Y: top + (i+1)*rowHeight, Text: short(other + "  " + f.Ports)}
		for _, t := range f.Times {
			x := place(t.From)
			r.Bars = append(r.Bars, bar{x, r.Y, max(place(t.To)-x, 1)})
		}
		c.Rows = append(c.Rows, r)
	}
	c.Height = top + (len(flows)+2)*rowHeight
	return c
}

func column(names []string, x int) []node {
	list := make([]node, len(names))
	for i, n := range names {
		list[i] = node{x, i*nodeHeight + 8, nodeWidth, short(n)}
	}
	return list
}

func short(s string) string {
	if letters := []rune(s); len(letters) > maxText {
		return string(letters[:maxText-1]) + "…"
	}
	return s
}
