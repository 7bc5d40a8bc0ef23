package work

import "github.com/taskwall/taskwall/events/canon"

// readProgram reads a program, whose strings are those of the policies: many
// items hold the same.
func readProgram(r *canon.Reader) (p Program) {
	r.Object(func() {
		r.Must("id")
		p.ID = r.Shared()
		r.Must("policies")
		p.Policies = canon.List(r, r.Shared)
		if r.Has("ingress") {
			p.Ingress = canon.List(r, func() Tier { return readTier(r) })
		}
		if r.Has("egress") {
			p.Egress = canon.List(r, func() Tier { return readTier(r) })
		}
	})
	return p
}

func readTier(r *canon.Reader) (t Tier) {
	r.Object(func() {
		r.Must("name")
		t.Name = r.Shared()
		r.Must("rules")
		t.Rules = canon.List(r, func() Rule { return readRule(r) })
	})
	return t
}

func readRule(r *canon.Reader) (rule Rule) {
	r.Object(func() {
		r.Must("action")
		rule.Action = Action(r.Shared())
		if r.Has("protocol") {
			rule.Protocol = int(r.Int(0))
		}
		if r.Has("notProtocol") {
			rule.NotProtocol = int(r.Int(0))
		}
		if r.Has("icmp") {
			rule.ICMP = readICMP(r)
		}
		if r.Has("notIcmp") {
			rule.NotICMP = readICMP(r)
		}
		if r.Has("source") {
			rule.Source = readMatch(r)
		}
		if r.Has("dest") {
			rule.Dest = readMatch(r)
		}
		r.Must("policy")
		rule.Policy = r.Shared()
		r.Must("index")
		rule.Index = int(r.Int(0))
	})
	return rule
}

func readICMP(r *canon.Reader) *ICMP {
	c := &ICMP{}
	r.Object(func() {
		r.Must("type")
		c.Type = int(r.Int(0))
		if r.Has("code") {
			code := int(r.Int(0))
			c.Code = &code
		}
	})
	return c
}

func readMatch(r *canon.Reader) (m Match) {
	r.Object(func() {
		if r.Has("sets") {
			m.Sets = canon.List(r, r.Shared)
		}
		if r.Has("notSets") {
			m.NotSets = canon.List(r, r.Shared)
		}
		if r.Has("ports") {
			m.Ports = canon.List(r, func() PortRange { return readPorts(r) })
		}
		if r.Has("portSets") {
			m.PortSets = canon.List(r, r.Shared)
		}
		if r.Has("notPorts") {
			m.NotPorts = canon.List(r, func() PortRange { return readPorts(r) })
		}
		if r.Has("notPortSets") {
			m.NotPortSets = canon.List(r, r.Shared)
		}
	})
	return m
}

func readPorts(r *canon.Reader) (p PortRange) {
	r.Object(func() {
		r.Must("first")
		p.First = uint16(r.Uint(16)) //nolint:gosec // of 16 bits
		r.Must("last")
		p.Last = uint16(r.Uint(16)) //nolint:gosec // of 16 bits
	})
	return p
}
