package verify

import (
	"fmt"
	"io"
	"strings"

	"github.com/taskwall/taskwall/policy/explain"
)

// Report says how the expectations of a file fared.
type Report struct {
	Passed int    `json:"passed"`
	Failed int    `json:"failed"`
	Cases  []Case `json:"cases"`
}

// Case is one expectation's outcome.
type Case struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Expect string `json:"expect"` // "allow" or "deny"
	Passed bool   `json:"passed"`
	Pairs  int    `json:"pairs"` // how many pairs it means
	Wrong  int    `json:"wrong"` // how many of them have another verdict
	// Error says why the expectation cannot be tried, e.g. that it means nobody.
	Error string `json:"error,omitempty"`
	// Example is the first pair with another verdict.
	Example *explain.Answer `json:"example,omitempty"`
}

// Run tries a file's expectations in a world, to which it adds the endpoints
// that the file names and imagines.
func (f *File) Run(w *explain.World) *Report {
	for i := range f.Endpoints {
		w.Put(f.Endpoints[i].Policy())
	}
	r := &Report{Cases: make([]Case, 0, len(f.Expect))}
	for i := range f.Expect {
		c := f.Expect[i].run(w, i)
		r.Cases = append(r.Cases, c)
		if c.Passed {
			r.Passed++
		} else {
			r.Failed++
		}
	}
	return r
}

func (e *Expectation) run(w *explain.World, i int) Case {
	c := Case{Name: e.Name, Line: e.line, Expect: e.Verdict}
	if c.Name == "" {
		c.Name = fmt.Sprintf("%s -> %s %s", &e.From, &e.To, e.Port)
	}
	if err := e.pairs(w, i, &c); err != nil {
		c.Error = err.Error()
	}
	c.Passed = c.Error == "" && c.Wrong == 0
	return c
}

func (e *Expectation) pairs(w *explain.World, i int, c *Case) error {
	// What is imagined for one expectation must not be met by the others.
	fromID, toID := fmt.Sprintf("imagined/%d/from", i), fmt.Sprintf("imagined/%d/to", i)
	defer w.Remove(fromID)
	defer w.Remove(toID)
	from, err := e.From.parties(w, fromID)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	to, err := e.To.parties(w, toID)
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	if len(from)*len(to) > maxPairs {
		return fmt.Errorf("%d pairs: name fewer endpoints, at most %d pairs are tried", len(from)*len(to), maxPairs)
	}
	for _, target := range to {
		port, err := w.ParsePort(string(e.Port), target)
		if err != nil {
			return err
		}
		for _, source := range from {
			if source == target {
				continue // what an endpoint says to itself leaves it nowhere
			}
			c.Pairs++
			if w.Resolver.Verdict(port.Packet(source, target)).Allowed == (e.Verdict == "allow") {
				continue
			}
			if c.Wrong++; c.Example == nil {
				c.Example = w.Answer(source, target, port, false)
			}
		}
	}
	if c.Pairs == 0 {
		return fmt.Errorf("from and to are the same endpoint: %w", explain.ErrNobody)
	}
	return nil
}

// WriteText writes the report for people: each failure with the rule that
// decided, then a summary.
func (r *Report) WriteText(out io.Writer, file string) error {
	var b strings.Builder
	for i := range r.Cases {
		c := &r.Cases[i]
		if c.Passed {
			fmt.Fprintf(&b, "ok    %s\n", c.Name)
			continue
		}
		fmt.Fprintf(&b, "FAIL  %s  (%s:%d)\n", c.Name, file, c.Line)
		switch {
		case c.Error != "":
			fmt.Fprintf(&b, "      %s\n", c.Error)
		default:
			fmt.Fprintf(&b, "      expected %s; %d of %d pairs differ, such as\n", c.Expect, c.Wrong, c.Pairs)
			var text strings.Builder
			if err := c.Example.WriteText(&text); err != nil {
				return err
			}
			for line := range strings.Lines(text.String()) {
				b.WriteString("      " + line)
			}
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed\n", r.Passed, r.Failed)
	_, err := io.WriteString(out, b.String())
	return err
}
