package firewall

import (
	"fmt"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// Reason is why a packet was logged.
type Reason struct {
	Action    work.Action
	Direction string // "egress", "ingress" or ""
	Policy    string
	Index     int
}

// maxReasons bounds what is remembered, also of rules that are no more.
const maxReasons = 200_000

// note remembers what a program's log messages will mean.
func (f *Firewall) note(p *work.Program) {
	f.reasonsMu.Lock()
	defer f.reasonsMu.Unlock()
	if len(f.reasons) > maxReasons {
		clear(f.reasons) // those of rules in force are told by their prefix until noted again
	}
	for _, d := range []struct {
		direction
		tiers []work.Tier
	}{{egress, p.Egress}, {ingress, p.Ingress}} {
		for _, t := range d.tiers {
			for _, r := range t.Rules {
				if r.Action == work.Deny || r.Action == work.Log {
					f.reasons[d.tag(r.Policy, r.Index)] = Reason{r.Action, d.word, r.Policy, r.Index}
				}
			}
		}
	}
}

// tag is the part of a log prefix that names the rule.
func (d direction) tag(policy string, index int) string {
	return d.short + " " + shortHash(d.short, policy, fmt.Sprint(index))
}

// Reason says what a log prefix of ours means; ok is false for another's. A
// rule that is no more is told by the text that the prefix carries.
func (f *Firewall) Reason(prefix string) (r Reason, ok bool) {
	rest, ok := strings.CutPrefix(prefix, "tw:")
	if !ok {
		return r, false
	}
	action, rest, _ := strings.Cut(rest, ":")
	parts := strings.SplitN(rest, " ", 3)
	r = Reason{Action: work.Action(action), Index: noRule, Policy: parts[len(parts)-1]}
	switch parts[0] {
	case egress.short:
		r.Direction = egress.word
	case ingress.short:
		r.Direction = ingress.word
	case "c":
		r.Policy = "closed: no policy selects the task, it has ended, or the address is not its own"
	case "n":
		r.Policy = "invalid: the packet belongs to no connection"
	}
	if len(parts) == 3 {
		f.reasonsMu.Lock()
		defer f.reasonsMu.Unlock()
		if known, ok := f.reasons[parts[0]+" "+parts[1]]; ok && known.Action == r.Action {
			return known, true
		}
	}
	return r, true
}
