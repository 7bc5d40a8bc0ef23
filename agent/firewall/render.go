package firewall

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// rules is a chain's content in the canonical form of iptables-save, without
// the "-A chain " before each: what we write reads back the same, and a plain
// comparison finds drift.
type rules []string

// chains are rules by the name of their chain.
type chains map[string]rules

// maxLines bounds what one policy rule may expand to.
const maxLines = 1024

// program renders both directions of a posture. The chain that a denial ends
// in is part of the result; postures with the same denial share it.
func program(p *work.Program) (chains, error) {
	out := chains{}
	for _, d := range []struct {
		direction
		tiers []work.Tier
	}{{egress, p.Egress}, {ingress, p.Ingress}} {
		if err := d.render(out, p, d.tiers); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// standIn is a posture that lets nothing pass, for a program that cannot be
// programmed.
func standIn(id string, why error) chains {
	out := chains{}
	for _, d := range []direction{egress, ingress} {
		out[d.postureChain(id, 0)] = rules{strings.TrimPrefix(comment("closed: "+why.Error()), " ") + " -g " + chainClosed}
	}
	return out
}

func (d direction) render(out chains, p *work.Program, tiers []work.Tier) error {
	if len(tiers) == 0 {
		deny := d.denial(out, "no policy allows "+d.word, noRule)
		out[d.postureChain(p.ID, 0)] = rules{"-g " + deny}
		return nil
	}
	for i, t := range tiers {
		next := d.denial(out, "no tier decides "+d.word, noRule)
		if i+1 < len(tiers) {
			next = d.postureChain(p.ID, i+1)
		}
		var rs rules
		ended := false
		for _, r := range t.Rules {
			lines, final, err := d.rule(out, r, next)
			if err != nil {
				return fmt.Errorf("%s %s rule %d: %w", d.word, r.Policy, r.Index, err)
			}
			rs = append(rs, lines...)
			if final { // what follows can never be reached
				ended = true
				break
			}
		}
		if !ended {
			rs = append(rs, strings.TrimPrefix(comment("end of tier "+t.Name), " ")+" -g "+next)
		}
		out[d.postureChain(p.ID, i)] = rs
	}
	return nil
}

// rule renders one rule; final means that it decides every packet.
func (d direction) rule(out chains, r work.Rule, next string) (lines rules, final bool, err error) {
	matches, err := match(r)
	if err != nil {
		return nil, false, err
	}
	var target string
	switch r.Action {
	case work.Allow:
		target = "-g " + d.allow
	case work.Deny:
		target = "-g " + d.denial(out, r.Policy, r.Index)
	case work.Pass:
		target = "-g " + next
	case work.Log:
		target = d.nflog("log", r.Policy, r.Index)
	default:
		return nil, false, fmt.Errorf("action %q: %w", r.Action, ErrRule)
	}
	about := comment(source(r.Policy, r.Index))
	for _, m := range matches {
		if r.Action == work.Log {
			m += logLimit
		}
		lines = append(lines, strings.TrimPrefix(m+about+" "+target, " "))
		final = final || m == "" && r.Action != work.Log
	}
	return lines, final, nil
}

// source names where a rule comes from, for people.
func source(policy string, index int) string {
	switch index {
	case noRule:
		return policy
	case -1: // see work.Rule
		return "default of tier " + policy
	}
	return policy + " rule " + strconv.Itoa(index)
}

// noRule is the index of a denial that no rule makes.
const noRule = -2

// logLimit keeps a flood of denied packets from becoming a flood of reports.
const logLimit = " -m limit --limit 10/sec --limit-burst 20"

// LogGroup is the NFLOG group of our log and deny messages.
const LogGroup = 84

// maxPrefix is NFLOG's longest prefix less its terminating zero.
const maxPrefix = 63

func (d direction) nflog(action, policy string, index int) string {
	prefix := fmt.Sprintf("tw:%s:%s %s", action, d.tag(policy, index), source(policy, index))
	return fmt.Sprintf(`-j NFLOG --nflog-prefix "%s" --nflog-group %d`, words(prefix, maxPrefix), LogGroup)
}

// denial puts the chain that logs and drops in the name of a rule, and returns
// its name.
func (d direction) denial(out chains, policy string, index int) string {
	name := prefix + "d-" + d.short + "-" + shortHash(policy, strconv.Itoa(index))
	about := comment("denied " + d.word + ": " + source(policy, index))
	out[name] = rules{
		strings.TrimPrefix(logLimit, " ") + about + " " + d.nflog("deny", policy, index),
		strings.TrimPrefix(about, " ") + " -j DROP",
	}
	return name
}
