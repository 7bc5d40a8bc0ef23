package firewall

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events/work"
)

// perMultiport is how many ports the multiport match takes; a range counts
// twice.
const perMultiport = 15

// protocols are the names by which iptables-save shows protocol numbers; the
// others it shows as /etc/protocols says, which readback undoes.
var protocols = map[int]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}

// match renders a rule's conditions as alternatives: the rule matches when one
// of them does. Each starts with a space unless empty.
func match(r work.Rule) ([]string, error) {
	var base strings.Builder
	proto := r.Protocol
	if proto == 0 && (r.ICMP != nil || r.NotICMP != nil) {
		proto = 1
	}
	switch {
	case proto < 0 || proto > 255 || r.NotProtocol < 0 || r.NotProtocol > 255:
		return nil, fmt.Errorf("protocol %d: %w", r.Protocol, ErrRule)
	case proto != 0 && proto == r.NotProtocol:
		return nil, nil // matches nothing
	case proto != 0:
		base.WriteString(" -p ")
		base.WriteString(protocolName(proto))
	case r.NotProtocol != 0:
		base.WriteString(" ! -p " + protocolName(r.NotProtocol))
	}
	if (r.ICMP != nil || r.NotICMP != nil) && proto != 1 {
		return nil, fmt.Errorf("an ICMP type with protocol %d: %w", proto, ErrRule)
	}
	for _, c := range []struct {
		icmp *work.ICMP
		not  string
	}{{r.ICMP, ""}, {r.NotICMP, "! "}} {
		if c.icmp == nil {
			continue
		}
		t := strconv.Itoa(c.icmp.Type)
		if c.icmp.Code != nil {
			t += "/" + strconv.Itoa(*c.icmp.Code)
		}
		base.WriteString(" -m icmp " + c.not + "--icmp-type " + t)
	}
	sides := []side{{r.Source, "src", "--sports"}, {r.Dest, "dst", "--dports"}}
	alternatives := []string{""}
	for _, s := range sides {
		if (len(s.Ports) > 0 || len(s.NotPorts) > 0) && !hasPorts(proto) {
			return nil, fmt.Errorf("ports with protocol %d: %w", proto, ErrRule)
		}
		for _, chunk := range chunks(s.NotPorts) {
			base.WriteString(" -m multiport ! " + s.flag + " " + chunk)
		}
		own := s.alternatives()
		if len(own) == 0 {
			continue
		}
		var next []string
		for _, a := range own {
			for _, b := range alternatives {
				next = append(next, b+a)
			}
		}
		if len(next) > maxLines {
			return nil, fmt.Errorf("%d combinations of ports: %w", len(next), ErrRule)
		}
		alternatives = next
	}
	var sets strings.Builder
	for _, s := range sides {
		writeSets(&sets, "", s.Sets, s.dir)
		writeSets(&sets, "! ", s.NotSets, s.dir)
		writeSets(&sets, "! ", s.NotPortSets, s.dir+","+s.dir)
	}
	for i, a := range alternatives { // cheap matches first, set lookups last
		alternatives[i] = base.String() + a + sets.String()
	}
	return alternatives, nil
}

type side struct {
	work.Match
	dir  string // of a set match
	flag string // of a port match
}

// alternatives are the ways to satisfy Ports and PortSets: none when neither
// restricts.
func (s side) alternatives() (out []string) {
	for _, chunk := range chunks(s.Ports) {
		out = append(out, " -m multiport "+s.flag+" "+chunk)
	}
	for _, id := range s.PortSets {
		out = append(out, " -m set --match-set "+setName(id)+" "+s.dir+","+s.dir)
	}
	return out
}

func writeSets(b *strings.Builder, not string, ids []string, dir string) {
	for _, id := range ids {
		for _, part := range [...]string{" -m set ", not, "--match-set ", setName(id), " ", dir} {
			b.WriteString(part)
		}
	}
}

// chunks renders port ranges as lists of what one multiport match can hold.
func chunks(ports []work.PortRange) []string {
	var out []string
	var cur []string
	room := perMultiport
	for _, p := range ports {
		text, need := strconv.Itoa(int(p.First)), 1
		if p.Last != p.First {
			text, need = fmt.Sprintf("%d:%d", p.First, p.Last), 2
		}
		if need > room {
			out, cur, room = append(out, strings.Join(cur, ",")), nil, perMultiport
		}
		cur, room = append(cur, text), room-need
	}
	if len(cur) > 0 {
		out = append(out, strings.Join(cur, ","))
	}
	return out
}

func hasPorts(proto int) bool {
	switch proto {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

func protocolName(n int) string {
	if s, ok := protocols[n]; ok {
		return s
	}
	return strconv.Itoa(n)
}
