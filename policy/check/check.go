// Package check finds what is wrong, or most likely not meant, in a directory
// of policies. It is what "taskwall policy check" does.
//
//	files ─▶ errors: what cannot be applied
//	      └▶ warnings: what has no effect, or another than it seems to have
//	                   (more of them with a snapshot of the cluster's endpoints)
//
// A Report is written for people, as JSON, as SARIF, or as GitHub annotations.
package check

import (
	"cmp"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/strict"
)

// Severity says whether a finding stops the policies from being applied.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that was found.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    string   `json:"check"` // see Checks
	resource.Problem
}

// Checks are the names of the checks with what each finds.
var Checks = map[string]string{
	"invalid":        "A resource that cannot be applied.",
	"not-in-force":   "A rule that can match no IPv4 packet and is left out.",
	"unused-rules":   "Rules of a direction that the policy's types leave out.",
	"impossible":     "A selector or rule that can match nothing, whatever the cluster holds.",
	"no-such-fact":   "A selector that tests what the cluster does not tell of endpoints.",
	"selects-nobody": "A policy that selects no endpoint of the snapshot.",
	"matches-nobody": "A rule's selector that matches no endpoint of the snapshot and no network set.",
	"shadowed":       "A rule that never decides, since an earlier one matches all that it matches.",
	"contradiction":  "Policies of equal order that disagree: only their names decide.",
	"overlap":        "A network set that overlaps an IPPool: it stands for endpoints too.",
	"leak":           "A rule that lets one environment reach another without saying so.",
	"no-host":        "A BGP resource that selects no host of the snapshot, which knows hosts by their tasks.",
	"no-sessions":    "BGP resources by which hosts get no sessions.",
	"as-mismatch":    "BGP peers that disagree on the AS number of one router.",
	"not-covered":    "A pool or an advertisement that the other does not cover.",
	"unused-filter":  "A BGPFilter that no peer names.",
	"not-learned":    "A network set that is too large for routes to it to be learned.",
	"large-mesh":     "A full mesh of more hosts than is wise.",
}

// Report is all that was found, sorted by place.
type Report struct {
	Resources int       `json:"-"` // how many were read, when there are no errors
	Errors    int       `json:"errors"`
	Warnings  int       `json:"warnings"`
	Findings  []Finding `json:"findings"`
}

// Options say what to look at.
type Options struct {
	// Endpoints are a snapshot of the cluster. Without one, the checks that need
	// it are left out.
	Endpoints []policy.Endpoint
	// Prefix comes before file names, such as the directory as seen from the
	// repository's root.
	Prefix string
}

// run is a check under way.
type run struct {
	Options
	report   Report
	resolver *policy.Resolver
	docs     map[events.ResourceKey]*resource.Document
	policies []*resource.Policy // those in force as packets meet them, then staged ones
	inForce  int                // how many of them are in force
	sets     []*resource.Set
	pools    []*resource.Pool
	bgp      policy.BGP
	envs     map[string]string // endpoint id → environment
	ids      map[string]string // address → endpoint id
	canon    map[string]string // selector → canonical form
}

// Directory checks the policies of a directory or file. The error is for what
// cannot be read at all; what is wrong in the files is in the Report.
func Directory(dir string, o Options) (*Report, error) {
	r := &run{Options: o, docs: map[events.ResourceKey]*resource.Document{}, envs: map[string]string{}, ids: map[string]string{}, canon: map[string]string{}}
	docs, err := resource.LoadDocuments(dir)
	if !r.problems(err) && err != nil {
		return nil, err
	}
	if err == nil {
		r.report.Resources = len(docs)
		r.all(docs)
	}
	return r.done(), nil
}

// problems notes the problems that an error holds; false if it holds none.
func (r *run) problems(err error) bool {
	var list resource.Problems
	if !errors.As(err, &list) {
		return false
	}
	for _, p := range list {
		r.locate(&p)
		r.report.Findings = append(r.report.Findings, Finding{Error, "invalid", p})
	}
	return true
}

func (r *run) all(docs []resource.Document) {
	resources := make([]events.Resource, len(docs))
	for i := range docs {
		resources[i] = docs[i].Resource
		r.docs[resources[i].ResourceKey] = &docs[i]
	}
	r.resolver = policy.NewResolver()
	if r.problems(r.resolver.Apply(resources, nil)) {
		return
	}
	for _, e := range r.Endpoints {
		r.resolver.PutEndpoint(e)
		r.envs[e.ID] = r.resolver.Guarded(e).Environment
		r.ids[e.Address.String()] = e.ID
	}
	r.parse(resources)
	for _, w := range r.resolver.Warnings() {
		r.locate(&w)
		r.report.Findings = append(r.report.Findings, Finding{Warning, "not-in-force", w})
	}
	for i, p := range r.policies {
		r.types(p)
		r.impossible(p)
		if i < r.inForce && len(r.Endpoints) > 0 {
			r.nobody(p)
		}
		if i < r.inForce {
			r.leaks(p)
		}
	}
	r.shadows()
	r.contradictions()
	r.overlaps()
	r.poolLabels()
	r.bgp = r.resolver.BGP()
	r.sessions()
	r.selectHosts()
	r.routers()
	r.advertisements()
}

func (r *run) parse(resources []events.Resource) {
	byKey := map[events.ResourceKey]*resource.Policy{}
	for _, raw := range resources {
		typed, err := resource.Parse(raw)
		if err != nil {
			continue // Apply has taken it
		}
		switch t := typed.(type) {
		case *resource.Policy:
			byKey[t.Key()] = t
			if t.Staged() {
				r.policies = append(r.policies, t)
			}
		case *resource.Set:
			r.sets = append(r.sets, t)
		case *resource.Pool:
			r.pools = append(r.pools, t)
		}
	}
	var inForce []*resource.Policy
	for _, key := range r.resolver.Order() {
		inForce = append(inForce, byKey[key])
	}
	r.inForce = len(inForce)
	r.policies = append(inForce, r.policies...)
}

// warn notes a warning about a field of a resource.
func (r *run) warn(check string, key events.ResourceKey, field []any, message, instead string) {
	doc := r.docs[key]
	p := resource.Problem{File: doc.Resource.File, Message: key.String() + ": " + message, Instead: instead, Field: fieldText(field)}
	p.Line, p.Column = doc.Position(field...)
	r.report.Findings = append(r.report.Findings, Finding{Warning, check, p})
}

// locate gives a problem that stands at its resource's line the place of its
// field.
func (r *run) locate(p *resource.Problem) {
	for _, doc := range r.docs {
		if p.Column == 0 && p.Field != "" && doc.Resource.File == p.File && doc.Resource.Line == p.Line {
			p.Line, p.Column = doc.Position(strict.ParsePath(p.Field)...)
			return
		}
	}
}

func (r *run) done() *Report {
	rep := &r.report
	if rep.Findings == nil {
		rep.Findings = []Finding{}
	}
	for i := range rep.Findings {
		f := &rep.Findings[i]
		if r.Prefix != "" && f.File != "" {
			f.File = path.Join(r.Prefix, f.File)
		}
		if f.Severity == Error {
			rep.Errors++
		} else {
			rep.Warnings++
		}
	}
	slices.SortStableFunc(rep.Findings, func(a, b Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return cmp.Or(a.Column-b.Column, strings.Compare(a.Message, b.Message))
	})
	return rep
}
