package bundle

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events/moment"
	"github.com/taskwall/taskwall/policy/reach"
	"github.com/taskwall/taskwall/policy/strict"
	"github.com/taskwall/taskwall/scheduler/whatif"
)

//go:embed report.html.tmpl
var page string

// page2 and page3 are those of versions 2 and 3: bundles are kept for years, and their pages are
// compared byte for byte.
//
//go:embed report2.html.tmpl
var page2 string

//go:embed report3.html.tmpl
var page3 string

// pages are by the version of their bundles.
var pages = map[int]*template.Template{2: parsed(page2, roughly), 3: parsed(page3, moment.Span), version: parsed(page, moment.Span)}

func roughly(d time.Duration) string { return d.Round(time.Second).String() }

// parsed is a page's template. Names and labels are written by whoever writes an
// app. The template engine escapes all of them by where they stand.
func parsed(page string, span func(time.Duration) string) *template.Template {
	return template.Must(template.New("report").Funcs(functions).Funcs(template.FuncMap{"span": span}).Parse(page))
}

var functions = template.FuncMap{
	"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"join":  func(list []string) string { return strings.Join(list, ", ") },
	"rule": func(r reach.Rule) string {
		if r.Index < 0 {
			return "the default of tier " + r.Policy
		}
		return fmt.Sprintf("%s, rule %d", r.Policy, r.Index)
	},
	"hours": func(h float64) string { return fmt.Sprintf("%.1f", h) },
	"text": func(body json.RawMessage) string {
		var out bytes.Buffer
		if json.Indent(&out, body, "", "  ") != nil {
			return string(body)
		}
		return out.String()
	},
}

// render is the answer as a page that needs nothing beside itself. Equal answers
// give equal bytes.
func render(q *Question, a *Answer) ([]byte, error) {
	var out bytes.Buffer
	err := pages[q.Version].Execute(&out, struct {
		*Question
		*Answer
		Requirements    []Requirement
		InChart         *chart
		OutChart        *chart
		NoneIn, NoneOut []string
	}{q, a, requirements, draw(q, a.In, true), draw(q, a.Out, false), without(q, a, a.In, true), without(q, a, a.Out, false)})
	if err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	if q.Version <= 3 {
		return out.Bytes(), nil
	}
	// The engine lets pass what only a reader is misled by, such as letters that
	// turn the order of others around.
	return []byte(strict.Visible(out.String(), "\n\t")), nil
}

// without are the systems that are in no flow of a direction, though they were
// there.
func without(q *Question, a *Answer, flows []whatif.Reach, in bool) (none []string) {
	for _, name := range q.Systems {
		if !slices.Contains(a.Never, name) && !slices.ContainsFunc(flows, func(f whatif.Reach) bool {
			if in {
				return f.To.Has(name)
			}
			return f.From.Has(name)
		}) {
			none = append(none, name)
		}
	}
	return none
}

// chart is who could reach whom, and when: parties left and right with a line
// for each flow, and a bar for each stretch of time.
type chart struct {
	Width, Height int // of the first drawing
	Left, Right   []node
	Lines         []line

	RowsHeight, BarsLeft, BarsWidth int // of the second
	Ticks                           []tick
	Rows                            []row

	More   int // flows that are in the tables alone
	Unseen int // pairs that are
}

type node struct {
	X, Y, Width int
	Text, Name  string // as it fits, and whole
}

type line struct{ X1, Y1, X2, Y2 int }

type row struct {
	Y           int
	Text, Ports string // as they fit
	Name        string // whole
	Bars        []bar
}

type bar struct{ X, Y, Width int }

// tick is a time that is written over the bars.
type tick struct {
	X      int
	Anchor string
	Text   string
}

const (
	chartWidth = 960
	nodeWidth  = 340
	nodeHeight = 26 // with the space between two
	boxHeight  = 20
	rowHeight  = 20
	rowsTop    = 22
	barsLeft   = 470
	barsWidth  = chartWidth - barsLeft
	// maxRows bounds a chart: beyond it nobody can read one.
	maxRows = 60
	// So many letters fit a node, and the name and the ports of a row.
	nodeText, rowText, portsText = 42, 40, 20
)

func draw(q *Question, flows []whatif.Reach, in bool) *chart {
	if len(flows) == 0 {
		return nil
	}
	c := &chart{Width: chartWidth, BarsLeft: barsLeft, BarsWidth: barsWidth}
	pairs := flows
	if len(flows) > maxRows {
		c.More = len(flows) - maxRows
		flows = flows[:maxRows]
	}
	if q.Version <= 3 {
		pairs = flows
	}
	pairs, c.Unseen = firstPairs(pairs)
	var from, to []string
	for i := range pairs {
		f := &pairs[i]
		for _, side := range []struct {
			list *[]string
			name string
		}{{&from, f.From.String()}, {&to, f.To.String()}} {
			if !slices.Contains(*side.list, side.name) {
				*side.list = append(*side.list, side.name)
			}
		}
	}
	c.Height = max(len(from), len(to)) * nodeHeight
	c.Left, c.Right = column(from, 0, c.Height), column(to, chartWidth-nodeWidth, c.Height)
	for i := range pairs {
		a, b := slices.Index(from, pairs[i].From.String()), slices.Index(to, pairs[i].To.String())
		l := line{nodeWidth, c.Left[a].Y + boxHeight/2, chartWidth - nodeWidth - 6, c.Right[b].Y + boxHeight/2}
		c.Lines = append(c.Lines, l)
	}
	whole := q.To.Sub(q.From).Seconds()
	place := func(t time.Time) int {
		part := t.Sub(q.From).Seconds() / whole
		return barsLeft + int(min(max(part, 0), 1)*barsWidth)
	}
	for i := range flows {
		f := &flows[i]
		other, own := f.From.String(), to
		if !in {
			other, own = f.To.String(), from
		}
		text := short(other, rowText)
		if q.Version > 2 && len(own) > 1 { // of several systems it must be told which
			const half = rowText / 2
			text = short(cmp.Or(f.From.App, f.From.String()), half) + " → " + short(cmp.Or(f.To.App, f.To.String()), half)
			other = f.From.String() + " → " + f.To.String()
		}
		r := row{Y: rowsTop + i*rowHeight, Text: text, Ports: short(f.Ports, portsText), Name: other + "  " + f.Ports}
		for _, t := range f.Times {
			x := min(place(t.From), chartWidth-2) // so that a short one is seen
			r.Bars = append(r.Bars, bar{x, r.Y, max(place(t.To)-x, 2)})
		}
		c.Rows = append(c.Rows, r)
	}
	c.Ticks = ticks(q)
	c.RowsHeight = rowsTop + len(flows)*rowHeight
	return c
}

// firstPairs are a flow for each of the first pairs of parties, and how many
// others there are.
func firstPairs(flows []whatif.Reach) (first []whatif.Reach, others int) {
	seen := map[[2]string]bool{}
	for i := range flows {
		pair := [2]string{flows[i].From.String(), flows[i].To.String()}
		if seen[pair] {
			continue
		}
		seen[pair] = true
		if len(first) < maxRows {
			first = append(first, flows[i])
		} else {
			others++
		}
	}
	return first, others
}

// ticks are the ends of the period and three times between them.
func ticks(q *Question) []tick {
	const parts = 4
	form := "2006-01-02"
	switch whole := q.To.Sub(q.From); {
	case whole < 10*time.Minute:
		form = "15:04:05"
	case whole < 10*24*time.Hour:
		form = "01-02 15:04"
	}
	var list []tick
	for i := range parts + 1 {
		t := tick{X: barsLeft + i*barsWidth/parts, Anchor: "middle"}
		switch i {
		case 0:
			t.Anchor = "start"
		case parts:
			t.Anchor = "end"
		}
		t.Text = q.From.Add(q.To.Sub(q.From) / parts * time.Duration(i)).UTC().Format(form)
		list = append(list, t)
	}
	return list
}

// column places names below each other, in the middle of the height.
func column(names []string, x, height int) []node {
	list := make([]node, len(names))
	top := (height-len(names)*nodeHeight)/2 + (nodeHeight-boxHeight)/2
	for i, n := range names {
		list[i] = node{x, top + i*nodeHeight, nodeWidth, short(n, nodeText), n}
	}
	return list
}

// short leaves out the middle: names of like things differ at their ends.
func short(s string, most int) string {
	letters := []rune(s)
	if len(letters) <= most {
		return s
	}
	head := most / 2
	return string(letters[:head]) + "…" + string(letters[len(letters)-(most-1-head):])
}
