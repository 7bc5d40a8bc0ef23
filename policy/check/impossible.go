package check

import (
	"fmt"

	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// impossible warns of selectors and rules that can match nothing whatever there
// is, and of labels that nothing has.
func (r *run) impossible(p *resource.Policy) {
	check := func(text string, field ...any) {
		s, err := selector.Parse(text)
		if err != nil {
			return
		}
		if s.Never() {
			r.warn("impossible", p.Key(), field, fmt.Sprintf("%s can match nothing", text), "make its parts agree")
		}
		r.labels(s, p.Key(), field)
	}
	check(p.Spec.Selector, "spec", "selector")
	for _, d := range directions(p) {
		for i := range d.rules {
			rule := &d.rules[i]
			if coversICMP(rule.NotICMP, rule.ICMP) {
				r.warn("impossible", p.Key(), []any{"spec", d.name, i, "notICMP"}, "the rule can match nothing: its icmp is excluded", "remove icmp or notICMP")
			}
			for _, side := range []struct {
				name string
				*resource.Entity
			}{{"source", &rule.Source}, {"destination", &rule.Destination}} {
				check(side.Selector, "spec", d.name, i, side.name, "selector")
				check(side.NotSelector, "spec", d.name, i, side.name, "notSelector")
				if not := r.excluded(side.Entity); not != "" {
					r.warn("impossible", p.Key(), []any{"spec", d.name, i, side.name, not}, "the rule can match nothing: it excludes all that it asks for", "narrow it")
				}
			}
		}
	}
}

// excluded names the field by which a side plainly excludes all that it asks
// for; "" when there is none.
func (r *run) excluded(e *resource.Entity) string {
	nets := e.Nets
	if len(nets) == 0 {
		nets = []string{"0.0.0.0/0"}
	}
	switch {
	case len(e.NotNets) > 0 && netsInside(nets, e.NotNets):
		return "notNets"
	case len(e.Ports) > 0 && portsInside(e.Ports, e.NotPorts):
		return "notPorts"
	case e.NotSelector != "" && (e.Selector != "" || e.NamespaceSelector != "") && r.wider(e.NotSelector, e.Selector):
		return "notSelector"
	}
	return ""
}
