package work

import "strconv"

// appendProgram appends a program as json.Marshal writes it; the digest of a
// picture is of these bytes.
func appendProgram(b []byte, p *Program) []byte {
	b = appendString(append(b, `{"id":`...), p.ID)
	b = appendList(append(b, `,"policies":`...), p.Policies, appendText)
	b = appendField(b, "ingress", p.Ingress, appendTier)
	return append(appendField(b, "egress", p.Egress, appendTier), '}')
}

func appendTier(b []byte, t *Tier) []byte {
	b = appendString(append(b, `{"name":`...), t.Name)
	return append(appendList(append(b, `,"rules":`...), t.Rules, appendRule), '}')
}

func appendRule(b []byte, r *Rule) []byte {
	b = appendString(append(b, `{"action":`...), string(r.Action))
	b = appendNumber(b, `,"protocol":`, r.Protocol)
	b = appendNumber(b, `,"notProtocol":`, r.NotProtocol)
	if r.ICMP != nil {
		b = appendICMP(append(b, `,"icmp":`...), r.ICMP)
	}
	if r.NotICMP != nil {
		b = appendICMP(append(b, `,"notIcmp":`...), r.NotICMP)
	}
	if !r.Source.isZero() {
		b = appendMatch(append(b, `,"source":`...), &r.Source)
	}
	if !r.Dest.isZero() {
		b = appendMatch(append(b, `,"dest":`...), &r.Dest)
	}
	b = appendString(append(b, `,"policy":`...), r.Policy)
	b = strconv.AppendInt(append(b, `,"index":`...), int64(r.Index), 10)
	return append(b, '}')
}

// appendNumber appends a field that is left out when it is 0.
func appendNumber(b []byte, name string, n int) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), int64(n), 10)
}

func appendICMP(b []byte, c *ICMP) []byte {
	b = strconv.AppendInt(append(b, `{"type":`...), int64(c.Type), 10)
	if c.Code != nil {
		b = strconv.AppendInt(append(b, `,"code":`...), int64(*c.Code), 10)
	}
	return append(b, '}')
}

// isZero tells of a match that json.Marshal leaves out: one without any list,
// not even an empty one.
func (m *Match) isZero() bool {
	return m.Sets == nil && m.NotSets == nil && m.Ports == nil && m.PortSets == nil && m.NotPorts == nil && m.NotPortSets == nil
}

func appendMatch(b []byte, m *Match) []byte {
	b = append(b, '{')
	b = appendField(b, "sets", m.Sets, appendText)
	b = appendField(b, "notSets", m.NotSets, appendText)
	b = appendField(b, "ports", m.Ports, appendPorts)
	b = appendField(b, "portSets", m.PortSets, appendText)
	b = appendField(b, "notPorts", m.NotPorts, appendPorts)
	return append(appendField(b, "notPortSets", m.NotPortSets, appendText), '}')
}

func appendPorts(b []byte, p *PortRange) []byte {
	b = strconv.AppendUint(append(b, `{"first":`...), uint64(p.First), 10)
	b = strconv.AppendUint(append(b, `,"last":`...), uint64(p.Last), 10)
	return append(b, '}')
}
