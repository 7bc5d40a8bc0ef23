package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/taskwall/taskwall/events"
)

// Failed reports whether the findings should stop a pull request; strict says
// that warnings do too.
func (r *Report) Failed(strict bool) bool { return r.Errors > 0 || strict && r.Warnings > 0 }

// WriteText writes one finding a line, and a summary.
func (r *Report) WriteText(out io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		place := f.Problem
		message := place
		message.File, message.Line, message.Column = "", 0, 0
		where := place.File
		if place.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, place.Line)
		}
		if place.Column > 0 {
			where = fmt.Sprintf("%s:%d", where, place.Column)
		}
		fmt.Fprintf(&b, "%s: %s: %s (%s)\n", where, f.Severity, message, f.Check)
	}
	fmt.Fprintf(&b, "%d errors, %d warnings\n", r.Errors, r.Warnings)
	_, err := io.WriteString(out, b.String())
	return err
}

// WriteJSON writes the report as it is.
func (r *Report) WriteJSON(out io.Writer) error { return encode(out, r) }

// WriteGitHub writes annotations that GitHub Actions shows in place.
func (r *Report) WriteGitHub(out io.Writer) error {
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var b strings.Builder
	for _, f := range r.Findings {
		p := f.Problem
		p.File, p.Line, p.Column = "", 0, 0
		fmt.Fprintf(&b, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", f.Severity, property.Replace(f.File), max(1, f.Line), max(1, f.Column),
			property.Replace("policy "+f.Check), escape.Replace(p.String()))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// The parts of SARIF 2.1.0 (OASIS) that code-review tools read.
type (
	sarif struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID   string    `json:"id"`
		Text sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     Severity        `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
)

// WriteSARIF writes the report as SARIF 2.1.0, which code-review tools show in
// place.
func (r *Report) WriteSARIF(out io.Writer) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "taskwall policy check"}}, Results: []sarifResult{}}
	for _, id := range events.SortedKeys(Checks) {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{id, sarifText{Checks[id]}})
	}
	for _, f := range r.Findings {
		p := f.Problem
		p.File, p.Line, p.Column = "", 0, 0
		run.Results = append(run.Results, sarifResult{f.Check, f.Severity, sarifText{p.String()}, []sarifLocation{{
			sarifPhysical{sarifArtifact{f.File}, sarifRegion{max(1, f.Line), max(1, f.Column)}},
		}}})
	}
	return encode(out, sarif{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func encode(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
