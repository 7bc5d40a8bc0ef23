package firewall

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
)

// setType is the kernel's type for a work item's set.
func setType(t work.SetType) (ipset.Type, error) {
	switch t {
	case work.Nets:
		return ipset.Net, nil
	case work.Ports:
		return ipset.IPPort, nil
	}
	return "", fmt.Errorf("set type %q: %w", t, ErrRule)
}

// entries are the kernel elements of one member. IPv6 members have none: tasks
// have no IPv6. The network 0.0.0.0/0, which the kernel's type cannot hold, is two.
func entries(t work.SetType, member string) ([]ipset.Entry, error) {
	if t == work.Ports {
		addr, port, ok := strings.Cut(member, ",")
		proto, num, ok2 := strings.Cut(port, ":")
		a, err := netip.ParseAddr(addr)
		n, err2 := strconv.ParseUint(num, 10, 16)
		p, ok3 := map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132}[proto]
		if !ok || !ok2 || !ok3 || err != nil || err2 != nil {
			return nil, fmt.Errorf("member %q: want address,protocol:port", member)
		}
		if !a.Is4() {
			return nil, nil
		}
		return []ipset.Entry{{Prefix: netip.PrefixFrom(a, 32), Proto: p, Port: uint16(n)}}, nil
	}
	var p netip.Prefix
	var err error
	if strings.Contains(member, "/") {
		p, err = netip.ParsePrefix(member)
	} else {
		var a netip.Addr
		if a, err = netip.ParseAddr(member); err == nil {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", member, err)
	}
	if !p.Addr().Is4() {
		return nil, nil
	}
	if p.Bits() == 0 {
		return []ipset.Entry{
			{Prefix: netip.MustParsePrefix("0.0.0.0/1")},
			{Prefix: netip.MustParsePrefix("128.0.0.0/1")},
		}, nil
	}
	return []ipset.Entry{{Prefix: p.Masked()}}, nil
}

// elements are the kernel elements of members, once each.
func elements(t work.SetType, members func(func(string) bool)) (map[ipset.Entry]bool, error) {
	out := map[ipset.Entry]bool{}
	for m := range members {
		es, err := entries(t, m)
		if err != nil {
			return nil, err
		}
		for _, e := range es {
			out[e] = true
		}
	}
	return out, nil
}

// spellings are the members that stand for an element, alone or with another: while
// a set has one of them, the element stays.
func spellings(e ipset.Entry) []string {
	if e.Port != 0 || e.Proto != 0 {
		return nil // there is one way to say it
	}
	all := []string{e.Prefix.String()}
	switch e.Prefix.Bits() {
	case 1:
		all = append(all, "0.0.0.0/0")
	case 32:
		all = append(all, e.Prefix.Addr().String())
	}
	return all
}
