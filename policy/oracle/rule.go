package oracle

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/resource"
)

// rule says whether a rule matches: every condition that it names must hold.
func (c *Cluster) rule(pol *resource.Policy, r *resource.Rule, ingress bool, p policy.Packet, source, target netip.Addr) bool {
	proto := resource.Protocol(p.Protocol)
	switch {
	case !source.Is4() || !target.Is4(): // IPv6 is closed
		return false
	case r.IPVersion == 6:
		return false
	case r.Protocol == resource.ICMPv6: // rules for it are rules for IPv6
		return false
	case r.Protocol != 0 && r.Protocol != proto:
		return false
	case r.NotProtocol != 0 && r.NotProtocol == proto:
		return false
	case r.ICMP != nil && !isICMP(r.ICMP, p):
		return false
	case r.NotICMP != nil && isICMP(r.NotICMP, p):
		return false
	}
	return c.side(pol, &r.Source, !ingress, proto, source, p.SrcPort) && c.side(pol, &r.Destination, ingress, proto, target, p.DstPort)
}

func isICMP(i *resource.ICMP, p policy.Packet) bool {
	return p.Protocol == 1 && *i.Type == p.ICMPType && (i.Code == nil || *i.Code == p.ICMPCode)
}

// side says whether one side of the packet is what an entity describes. Own
// says that it is the side on which the policy's own endpoint is.
func (c *Cluster) side(pol *resource.Policy, e *resource.Entity, own bool, proto resource.Protocol, addr netip.Addr, port uint16) bool {
	if len(e.Nets) > 0 && !inNets(e.Nets, addr) {
		return false
	}
	if inNets(e.NotNets, addr) {
		return false
	}
	restricted := e.Selector != "" || e.NamespaceSelector != "" || e.NotSelector != "" && pol.Metadata.Namespace != ""
	inScope := func(labels map[string]string, namespace string) bool {
		switch {
		case e.NamespaceSelector != "":
			if !namespaceMatches(e.NamespaceSelector, namespace) {
				return false
			}
		case restricted && pol.Metadata.Namespace != "":
			if namespace != pol.Metadata.Namespace {
				return false
			}
		}
		return matches(e.Selector, labels, namespace)
	}
	if restricted && !c.carries(addr, inScope) {
		return false
	}
	if e.NotSelector != "" && c.carries(addr, func(labels map[string]string, namespace string) bool {
		return matches(e.NotSelector, labels, namespace)
	}) {
		return false
	}
	isPort := func(want resource.Port) bool {
		if want.Name == "" {
			return want.First <= port && port <= want.Last
		}
		for i := range c.endpoints {
			ep := &c.endpoints[i]
			if ep.Address == addr && hasPort(ep, want.Name, proto, port) {
				if restricted && inScope(ep.Labels, ep.Environment) || !restricted && (!own || selects(pol, ep)) {
					return true
				}
			}
		}
		return false
	}
	if len(e.Ports) > 0 && !slices.ContainsFunc(e.Ports, isPort) {
		return false
	}
	return !slices.ContainsFunc(e.NotPorts, isPort)
}

// carries says whether the address belongs to an endpoint, or lies in a
// network set, whose labels and namespace pass the test.
func (c *Cluster) carries(addr netip.Addr, test func(labels map[string]string, namespace string) bool) bool {
	for i := range c.endpoints {
		if e := &c.endpoints[i]; e.Address == addr && test(e.Labels, e.Environment) {
			return true
		}
	}
	for _, s := range c.sets {
		if inNets(s.Spec.Nets, addr) && test(s.Metadata.Labels, s.Metadata.Namespace) {
			return true
		}
	}
	return false
}

func inNets(nets []string, addr netip.Addr) bool {
	for _, text := range nets {
		if !strings.Contains(text, "/") {
			if netip.MustParseAddr(text) == addr {
				return true
			}
		} else if netip.MustParsePrefix(text).Contains(addr) {
			return true
		}
	}
	return false
}

func hasPort(e *policy.Endpoint, name string, proto resource.Protocol, number uint16) bool {
	for _, p := range e.Ports {
		if p.Name != name || p.Number != int(number) {
			continue
		}
		for _, spoken := range strings.Split(p.Protocol, ",") { // Marathon has "udp,tcp"
			if strings.EqualFold(spoken, proto.String()) {
				return true
			}
		}
	}
	return false
}
