package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/strict"
)

// Answer says whether a packet passes, and why.
type Answer struct {
	From    Name   `json:"from"`
	To      Name   `json:"to"`
	Port    string `json:"port"`
	Allowed bool   `json:"allowed"`
	Egress  *End   `json:"egress,omitempty"`  // at the sender; absent when it is no endpoint
	Ingress *End   `json:"ingress,omitempty"` // at the receiver
	// Pairs is set when the names stand for several endpoints, of which this is the
	// first pair.
	Pairs *Pairs `json:"pairs,omitempty"`
}

// Pairs are all pairs of endpoints that two names stand for. What one says to
// itself is not judged.
type Pairs struct {
	Count int `json:"count"`
	// Judged is whether Otherwise was counted: not of more than maxPairs.
	Judged bool `json:"judged"`
	// Otherwise is for how many the verdict is another one; From and To are the
	// first such.
	Otherwise int   `json:"otherwise"`
	From      *Name `json:"from,omitempty"`
	To        *Name `json:"to,omitempty"`
}

const maxPairs = 10_000

// Name is a party as people know it.
type Name struct {
	Endpoint    string `json:"endpoint,omitempty"`
	App         string `json:"app,omitempty"`
	Environment string `json:"environment,omitempty"`
	Address     string `json:"address,omitempty"`
}

// End is one end's decision.
type End struct {
	Allowed bool   `json:"allowed"`
	Posture string `json:"posture,omitempty"`
	Rule    *Rule  `json:"rule,omitempty"` // absent when nothing decided: the direction is closed
	Why     string `json:"why"`            // in a sentence
	// Refused are claims that a LabelGuard does not let the endpoint make.
	Refused []policy.Refusal `json:"refused,omitempty"`
	// Considered are all rules that were tried, in order.
	Considered []Rule `json:"considered,omitempty"`
}

// Rule is a rule and where it comes from.
type Rule struct {
	Tier   string `json:"tier"`
	Policy string `json:"policy,omitempty"` // absent for a tier's default
	Index  int    `json:"index"`            // from 0; -1 for a tier's default
	Action string `json:"action"`
	// Matched is set on considered rules that matched.
	Matched bool   `json:"matched,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	// Origin is the change by which the policy was applied; absent when it is
	// known from files only.
	Origin *events.Origin `json:"origin,omitempty"`
}

// Explain answers what happens when from asks for a port of to. All asks for
// every rule that was tried.
func (w *World) Explain(from, to, port string, all bool) (*Answer, error) {
	sources, err := w.parties(from)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	targets, err := w.parties(to)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	p, err := w.ParsePort(port, targets[0])
	if err != nil {
		return nil, err
	}
	a := w.Answer(sources[0], targets[0], p, all)
	a.Pairs = w.pairs(sources, targets, p, a.Allowed)
	return a, nil
}

// pairs judges the other pairs, if there are any: tasks of one app can have other
// labels while it is deployed, and run where other rules apply.
func (w *World) pairs(sources, targets []policy.Party, port Port, allowed bool) *Pairs {
	count := len(sources) * len(targets)
	if count == 1 {
		return nil
	}
	p := &Pairs{Count: count, Judged: count <= maxPairs}
	if !p.Judged {
		return p
	}
	for _, from := range sources {
		for _, to := range targets {
			if from == to || w.Resolver.Verdict(port.Packet(from, to)).Allowed == allowed {
				continue
			}
			if p.Otherwise++; p.Otherwise == 1 {
				a, b := w.Name(from), w.Name(to)
				p.From, p.To = &a, &b
			}
		}
	}
	return p
}

// Answer is Explain for parties that were found before.
func (w *World) Answer(from, to policy.Party, port Port, all bool) *Answer {
	v := w.Resolver.Explain(port.Packet(from, to))
	return &Answer{
		From: w.Name(from), To: w.Name(to), Port: port.String(), Allowed: v.Allowed,
		Egress: w.end(v.Egress, "egress", all), Ingress: w.end(v.Ingress, "ingress", all),
	}
}

// Name is how people know a party.
func (w *World) Name(p policy.Party) Name {
	e := w.endpoints[p.Endpoint]
	n := Name{Endpoint: e.ID, App: e.Labels["taskwall/app"], Environment: e.Environment}
	if p.Address.IsValid() {
		n.Address = p.Address.String()
	}
	return n
}

func (w *World) end(d *policy.Decision, direction string, all bool) *End {
	if d == nil {
		return nil
	}
	e := &End{Allowed: d.Allowed, Posture: d.Posture, Refused: w.Resolver.Refusals(d.Endpoint)}
	switch {
	case d.Posture == "":
		e.Why = "no policy selects the endpoint: it is closed"
	case d.Tier == "" && len(d.Considered) == 0:
		e.Why = "no policy applies to its " + direction + ": it is closed"
	case d.Tier == "":
		e.Why = "every tier passed: it is closed"
	default:
		rule := w.rule(policy.Considered{Tier: d.Tier, Policy: d.Policy, Index: d.Index, Action: d.Action}, direction)
		e.Rule = &rule
		e.Why = fmt.Sprintf("%s, %s rule %d: %s", d.Policy, direction, d.Index, rule.Action)
		if d.Index < 0 {
			e.Why = fmt.Sprintf("tier %s: no rule matched, and its default is %s", d.Tier, rule.Action)
		}
	}
	if all {
		for _, c := range d.Considered {
			e.Considered = append(e.Considered, w.rule(c, direction))
		}
	}
	return e
}

var actions = map[work.Action]string{work.Allow: "Allow", work.Deny: "Deny", work.Pass: "Pass", work.Log: "Log"}

func (w *World) rule(c policy.Considered, direction string) Rule {
	r := Rule{Tier: c.Tier, Index: c.Index, Action: actions[c.Action], Matched: c.Matched}
	key := events.ResourceKey{Kind: resource.KindTier, Name: c.Tier} // whose default it is
	if c.Index >= 0 {
		r.Policy, key = c.Policy, keyOf(c.Policy)
	}
	raw, _ := w.Resolver.Resource(key)
	r.File, r.Line = raw.File, raw.RuleLine(direction, c.Index)
	if o, known := w.origins[key.String()]; known {
		r.Origin = &o
	}
	return r
}

// Allows is a rule that allows, by its place in the policy's list "ingress" or
// "egress", and where it comes from.
func (w *World) Allows(tier, policyKey string, index int, direction string) Rule {
	return w.rule(policy.Considered{Tier: tier, Policy: policyKey, Index: index, Action: work.Allow}, direction)
}

// keyOf undoes events.ResourceKey.String.
func keyOf(text string) events.ResourceKey {
	kind, name, _ := strings.Cut(text, " ")
	k := events.ResourceKey{Kind: kind, Name: name}
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		k.Namespace, k.Name = name[:i], name[i+1:]
	}
	return k
}

// String is the party's app, id and address.
func (n Name) String() string {
	if n.Endpoint == "" {
		return n.Address
	}
	s := n.Endpoint
	if n.App != "" {
		s = n.App + " (" + n.Endpoint
		if n.Address != "" {
			s += ", " + n.Address
		}
		s += ")"
	} else if n.Address != "" {
		s += " (" + n.Address + ")"
	}
	return strict.Visible(s, "")
}

// At is where the rule is written and who answers for it, such as "shop.yaml:12,
// commit 4f2c9e1 by ann", without what is not known.
func (r *Rule) At() string {
	var parts []string
	if r.File != "" {
		at := r.File
		if r.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, r.Line)
		}
		if r.Origin != nil && r.Origin.Placed != "" {
			at += " in commit " + r.Origin.Placed
		}
		parts = append(parts, at)
	}
	if o := r.Origin; o != nil {
		by := "applied by " + o.Author
		if o.Commit != "" {
			by = "commit " + o.Commit + " by " + o.Author
		}
		parts = append(parts, by)
	}
	return strings.Join(parts, ", ")
}

// WriteText writes the answer for people.
func (a *Answer) WriteText(out io.Writer) error {
	var b strings.Builder
	verdict := "DENIED"
	if a.Allowed {
		verdict = "ALLOWED"
	}
	fmt.Fprintf(&b, "%s  %s -> %s  %s\n", verdict, a.From, a.To, a.Port)
	a.Egress.write(&b, "egress ", a.From)
	a.Ingress.write(&b, "ingress", a.To)
	if a.Egress == nil && a.Ingress == nil {
		b.WriteString("Neither is an endpoint: nothing here decides.\n")
	}
	if p := a.Pairs; p != nil {
		fmt.Fprintf(&b, "That is the first of %d pairs of tasks. ", p.Count)
		switch {
		case !p.Judged:
			b.WriteString("The others were not judged: they are too many.\n")
		case p.Otherwise == 0:
			b.WriteString("The others have the same verdict.\n")
		default:
			other := map[bool]string{true: "DENIED", false: "ALLOWED"}[a.Allowed]
			fmt.Fprintf(&b, "OF THE OTHERS %d ARE %s, the first of them %s -> %s.\n", p.Otherwise, other, p.From, p.To)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (e *End) write(b *strings.Builder, direction string, n Name) {
	if e == nil {
		fmt.Fprintf(b, "%s  %s is no endpoint: not checked\n", direction, n)
		return
	}
	verdict := "denied"
	if e.Allowed {
		verdict = "allowed"
	}
	fmt.Fprintf(b, "%s  %s: %s\n", direction, verdict, e.Why)
	if e.Rule != nil && e.Rule.At() != "" {
		fmt.Fprintf(b, "         tier %s, %s\n", e.Rule.Tier, e.Rule.At())
		if o := e.Rule.Origin; o != nil && !o.Time.IsZero() {
			fmt.Fprintf(b, "         in force since %s, log entry %d\n", o.Time.UTC().Format("2006-01-02 15:04:05 UTC"), o.Seq)
		}
	}
	for _, r := range e.Refused {
		fmt.Fprintf(b, "         its label %s: %s is ignored: LabelGuard %s does not let it carry that\n", strict.Visible(r.Label, ""), strict.Visible(r.Value, ""), r.Guard)
	}
	for _, r := range e.Considered {
		mark, name := " ", "default"
		if r.Matched {
			mark = "*"
		}
		if r.Index >= 0 {
			name = fmt.Sprintf("%s[%d]", r.Policy, r.Index)
		}
		fmt.Fprintf(b, "       %s %-5s %s\n", mark, r.Action, strings.TrimSpace(fmt.Sprintf("tier %s, %s  %s", r.Tier, name, r.At())))
	}
}
