// Package verify runs files of expectations: who may reach whom, and who may
// not. It is what "taskwall policy test" does.
//
//	endpoints:                     # optional: endpoints in addition to the snapshot's
//	  - {id: probe, app: /ops/probe, environment: production, ip: 10.64.9.9}
//	expect:
//	  - name: front asks payments
//	    from: {app: /shop/front}              # every endpoint of the app
//	    to: {selector: app == 'payments'}     # every endpoint that matches
//	    port: 8443                            # or 53/udp, a port's name, icmp
//	    verdict: allow
//	  - from: {labels: {app: front}, environment: dev}   # one that is imagined
//	    to: {ip: 192.0.2.10}                             # an address outside
//	    port: oracle
//	    verdict: deny
//
// An expectation holds when all the pairs that it means have its verdict.
package verify

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/selector"
	"github.com/taskwall/taskwall/policy/snapshot"
	"github.com/taskwall/taskwall/policy/strict"
)

// File is a file of expectations.
type File struct {
	Endpoints []snapshot.Endpoint `json:"endpoints"`
	Expect    []Expectation       `json:"expect"`
}

// Expectation is one entry.
type Expectation struct {
	Name    string `json:"name"`
	From    Party  `json:"from"`
	To      Party  `json:"to"`
	Port    Port   `json:"port"`
	Verdict string `json:"verdict"` // "allow" or "deny"
	line    int
}

// Party says who is meant; exactly one of ID, App, Selector, IP and Labels is
// given.
type Party struct {
	ID       string `json:"id"`
	App      string `json:"app"`
	Selector string `json:"selector"`
	IP       string `json:"ip"`
	// Labels, with Environment and Ports, imagine an endpoint.
	Labels      map[string]string `json:"labels"`
	Environment string            `json:"environment"`
	Ports       map[string]string `json:"ports"`
}

// Port is a port as explain.World.ParsePort reads it; in files also a plain
// number.
type Port string

// UnmarshalJSON reads text or a number.
func (p *Port) UnmarshalJSON(b []byte) error {
	*p = Port(strings.Trim(string(b), `"`))
	return nil
}

// maxPairs bounds how many pairs one expectation may mean.
const maxPairs = 100_000

// Load reads a file. A failure is strict.Problems unless the file cannot be
// read at all.
func Load(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading expectations: %w", err)
	}
	return Read(filepath.Base(name), text)
}

// Read is Load of a file's text.
func Read(name string, text []byte) (*File, error) {
	docs, problems := strict.Parse(text)
	all := &File{}
	for _, doc := range docs {
		var f File
		wrong := doc.Decode(&f, nil)
		if len(wrong) == 0 {
			wrong = doc.Place(f.check())
		}
		problems = append(problems, wrong...)
		for i := range f.Expect {
			f.Expect[i].line, _ = doc.Position(strict.Path{"expect", i})
		}
		all.Endpoints, all.Expect = append(all.Endpoints, f.Endpoints...), append(all.Expect, f.Expect...)
	}
	for i := range problems {
		problems[i].File = name
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

func (f *File) check() []strict.Issue {
	issues := snapshot.Check(f.Endpoints, strict.Path{"endpoints"})
	for i := range f.Expect {
		e := &f.Expect[i]
		at := strict.Path{"expect", i}
		issues = append(issues, e.From.check(at.Under("from"))...)
		issues = append(issues, e.To.check(at.Under("to"))...)
		if e.Port == "" {
			issues = append(issues, strict.Issue{Path: at.Under("port"), Message: "no port", Instead: "write one such as 8443, 53/udp or icmp"})
		}
		if e.Verdict != "allow" && e.Verdict != "deny" {
			issues = append(issues, strict.Issue{Path: at.Under("verdict"), Message: fmt.Sprintf("%q is no verdict", e.Verdict), Instead: "write allow or deny"})
		}
	}
	return issues
}

func (p *Party) check(at strict.Path) []strict.Issue {
	var issues []strict.Issue
	given := 0
	for _, is := range []bool{p.ID != "", p.App != "", p.Selector != "", p.IP != "", p.Labels != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		issues = append(issues, strict.Issue{Path: at, Message: "not exactly one of id, app, selector, ip and labels", Instead: "write one of them"})
	}
	if p.Labels == nil && (p.Environment != "" || p.Ports != nil) {
		issues = append(issues, strict.Issue{Path: at, Message: "environment and ports belong to an imagined endpoint", Instead: "write labels beside them, or remove them"})
	}
	var wrong *selector.Error
	if _, err := selector.Parse(p.Selector); errors.As(err, &wrong) {
		issues = append(issues, strict.Issue{Path: at.Under("selector"), Column: wrong.Column, Message: wrong.Message, Instead: wrong.Instead})
	}
	if _, err := netip.ParseAddr(p.IP); p.IP != "" && err != nil {
		issues = append(issues, strict.Issue{Path: at.Under("ip"), Message: fmt.Sprintf("%q is no address", p.IP), Instead: "write an IPv4 address"})
	}
	imagined := snapshot.Endpoint{ID: "imagined", Ports: p.Ports}
	for _, i := range snapshot.Check([]snapshot.Endpoint{imagined}, nil) {
		i.Path = append(at.Under(), i.Path[1:]...)
		issues = append(issues, i)
	}
	return issues
}

// parties finds whom a Party means.
func (p *Party) parties(w *explain.World, id string) ([]policy.Party, error) {
	switch {
	case p.Labels != nil:
		e := snapshot.Endpoint{ID: id, Environment: p.Environment, Labels: p.Labels, Ports: p.Ports, IP: unused(w).String()}
		w.Put(e.Policy())
		return []policy.Party{{Endpoint: id, Address: netip.MustParseAddr(e.IP)}}, nil
	case p.IP != "":
		found, err := w.Party(p.IP)
		return []policy.Party{found}, err
	}
	meant, err := p.endpoints(w)
	if err == nil && len(meant) == 0 {
		err = fmt.Errorf("%s: %w", p, explain.ErrNobody)
	}
	found := make([]policy.Party, len(meant))
	for i, e := range meant {
		found[i] = policy.Party{Endpoint: e.ID, Address: e.Address}
	}
	return found, err
}

// endpoints are those that an id, an app or a selector means.
func (p *Party) endpoints(w *explain.World) ([]policy.Endpoint, error) {
	switch {
	case p.App != "":
		return w.OfApp(p.App), nil
	case p.ID != "":
		e, known := w.Endpoint(p.ID)
		if !known {
			return nil, nil
		}
		return []policy.Endpoint{e}, nil
	}
	sel, err := selector.Parse(p.Selector)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(w.Endpoints(), func(e policy.Endpoint) bool { return !w.Resolver.Selects(sel, e.ID) }), nil
}

// unused is an address of the range for tests of devices (RFC 2544), which no
// endpoint has.
func unused(w *explain.World) netip.Addr {
	endpoints := w.Endpoints()
	a := netip.AddrFrom4([4]byte{198, 18, 0, 1})
	for slices.ContainsFunc(endpoints, func(e policy.Endpoint) bool { return e.Address == a }) {
		a = a.Next()
	}
	return a
}

// String is the party as it was written.
func (p *Party) String() string {
	switch {
	case p.Labels != nil:
		var parts []string
		if p.Environment != "" {
			parts = append(parts, "environment "+p.Environment)
		}
		for _, k := range events.SortedKeys(p.Labels) {
			parts = append(parts, k+"="+p.Labels[k])
		}
		return "imagined {" + strings.Join(parts, ", ") + "}"
	case p.Selector != "":
		return p.Selector
	}
	return p.ID + p.App + p.IP
}
