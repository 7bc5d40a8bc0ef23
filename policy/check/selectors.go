package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
	"github.com/taskwall/taskwall/policy/strict"
)

func fieldText(field []any) string { return strict.Path(field).String() }

// direction is one of a policy's two lists of rules.
type direction struct {
	name    string
	rules   []resource.Rule
	applies bool
}

func directions(p *resource.Policy) [2]direction {
	in, out := p.Directions()
	return [2]direction{{"ingress", p.Spec.Ingress, in}, {"egress", p.Spec.Egress, out}}
}

// types warns of rules that the policy's types leave out.
func (r *run) types(p *resource.Policy) {
	for _, d := range directions(p) {
		if len(d.rules) > 0 && !d.applies {
			title := map[string]string{"ingress": "Ingress", "egress": "Egress"}[d.name]
			r.warn("unused-rules", p.Key(), []any{"spec", d.name}, "these rules never apply: types does not name "+title, "add "+title+" to types, or remove the rules")
		}
	}
}

// nobody warns of what matches nothing in the snapshot.
func (r *run) nobody(p *resource.Policy) {
	if len(r.resolver.Selected(p.Key())) == 0 {
		r.warn("selects-nobody", p.Key(), []any{"spec", "selector"}, "it selects no endpoint", "look for a label or an environment that is misspelt")
		return
	}
	ingress, egress := r.resolver.Rules(p.Key())
	for name, rules := range map[string][]work.Rule{"ingress": ingress, "egress": egress} {
		for i := range rules {
			for side, m := range map[string]*work.Match{"source": &rules[i].Source, "destination": &rules[i].Dest} {
				for _, id := range m.Sets {
					set, ok := r.resolver.Set(id)
					if ok && len(set.Members) == 0 && strings.HasPrefix(id, "s") {
						r.warn("matches-nobody", p.Key(), []any{"spec", name, rules[i].Index, side},
							fmt.Sprintf("%s matches no endpoint and no network set", set.Origin), "look for a label or an environment that is misspelt")
					}
				}
			}
		}
	}
}

// leaks warns of Allow rules by which one environment reaches another though
// the rule does not name environments. With a snapshot it takes a pair of
// endpoints that really may talk; without one, what the rule's words allow.
func (r *run) leaks(p *resource.Policy) {
	if p.Metadata.Namespace != "" || p.Spec.NamespaceSelector != "" || strings.Contains(p.Spec.Selector, selector.Namespace) {
		return
	}
	for _, d := range directions(p) {
		if !d.applies {
			continue
		}
		for i := range d.rules {
			rule := &d.rules[i]
			peer, side := &rule.Source, "source"
			if d.name == "egress" {
				peer, side = &rule.Destination, "destination"
			}
			if rule.Action != "Allow" || peer.Selector == "" || peer.NamespaceSelector != "" || strings.Contains(peer.Selector, selector.Namespace) {
				continue
			}
			field := []any{"spec", d.name, i, side}
			const instead = "add a namespaceSelector: to the rule if this is meant, or make it a NetworkPolicy"
			if len(r.Endpoints) == 0 {
				r.warn("leak", p.Key(), field, "the rule allows peers of every environment", instead)
			} else if own, other, ok := r.leak(p, rule, i, d.name == "ingress"); ok {
				r.warn("leak", p.Key(), field, fmt.Sprintf("the rule lets environments talk to each other: %s of %s and %s of %s",
					own, r.envs[own], other, r.envs[other]), instead)
			}
		}
	}
}

// leak finds an endpoint of the policy and a peer in another environment that
// the rule, and all other policies, let talk.
func (r *run) leak(p *resource.Policy, rule *resource.Rule, index int, ingress bool) (own, other string, found bool) {
	// One endpoint an environment stands for the others: this is a hint, not a proof.
	owns, others := r.oneEach(r.resolver.Selected(p.Key())), r.oneEach(r.peers(p, index, ingress))
	for _, a := range events.SortedKeys(owns) {
		for _, b := range events.SortedKeys(others) {
			from, to := owns[a], others[b]
			if ingress {
				from, to = to, from
			}
			if a != b && r.resolver.Verdict(sample(rule, from, to)).Allowed {
				return owns[a], others[b], true
			}
		}
	}
	return "", "", false
}

// oneEach picks one endpoint of each environment.
func (r *run) oneEach(ids []string) map[string]string {
	m := map[string]string{}
	for _, id := range ids {
		if env := r.envs[id]; env != "" && m[env] == "" {
			m[env] = id
		}
	}
	return m
}

// peers are the endpoints that a rule's peer selectors match, sorted.
func (r *run) peers(p *resource.Policy, index int, ingress bool) []string {
	in, out := r.resolver.Rules(p.Key())
	rules := out
	if ingress {
		rules = in
	}
	var ids []string
	for i := range rules {
		if rules[i].Index != index {
			continue
		}
		match := rules[i].Dest
		if ingress {
			match = rules[i].Source
		}
		for _, id := range match.Sets {
			set, _ := r.resolver.Set(id)
			for _, m := range set.Members {
				if e := r.ids[m]; e != "" {
					ids = append(ids, e)
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sample is a packet that a rule's protocol and ports let through.
func sample(rule *resource.Rule, from, to string) policy.Packet {
	p := policy.Packet{From: policy.Party{Endpoint: from}, To: policy.Party{Endpoint: to}, Protocol: int(resource.TCP), SrcPort: 40000, DstPort: 80}
	if rule.Protocol != 0 {
		p.Protocol = int(rule.Protocol)
	}
	for _, port := range rule.Destination.Ports {
		if port.Name == "" {
			p.DstPort = port.First
			break
		}
	}
	return p
}
