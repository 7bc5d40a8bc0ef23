package reach

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

// Protocol is an IANA protocol number, or Other.
type Protocol int

// Other stands for every protocol but TCP, UDP, ICMP and those of Span.Not: none
// has this number.
const Other Protocol = 256

// String is "tcp", "47" or "other protocols".
func (p Protocol) String() string {
	if p == Other {
		return "other protocols"
	}
	return strings.ToLower(resource.Protocol(p).String())
}

// MarshalText is String, with "other" for Other.
func (p Protocol) MarshalText() ([]byte, error) {
	if p == Other {
		return []byte("other"), nil
	}
	return []byte(p.String()), nil
}

// whole reports whether the ports are all that there are of their protocol.
func (p Ports) whole() bool {
	return p.First == 0 && p.Last == maxPort || int(p.Protocol) != icmp && !resource.Protocol(p.Protocol).HasPorts()
}

// PortsText writes the ports of spans for people, such as "tcp 443, 8000-8080;
// icmp 8" or "everything".
func PortsText(spans []Span) string {
	var list []string
	whole := map[Protocol]bool{}
	free := true // from every source port, every protocol
	for i := 0; i < len(spans); {
		protocol := spans[i].Protocol
		text := protocol.String()
		var runs []Ports
		sources := spans[i].Sources
		for _, p := range spans[i].Not {
			free = false
			text += " but " + p.String()
		}
		for ; i < len(spans) && spans[i].Protocol == protocol && slices.Equal(spans[i].Sources, sources); i++ {
			if n := len(runs); n > 0 && int(runs[n-1].Last)+1 == int(spans[i].First) {
				runs[n-1].Last = spans[i].Last
			} else {
				runs = append(runs, spans[i].Ports)
			}
		}
		if len(runs) == 1 && runs[0].whole() {
			whole[protocol] = true
		} else {
			var parts []string
			for _, r := range runs {
				parts = append(parts, r.numbers())
			}
			text += " " + strings.Join(parts, ", ")
		}
		if len(sources) > 0 {
			free = false
			text += " from source port " + rangesText(sources)
		}
		list = append(list, text)
	}
	if free && whole[Other] && whole[Protocol(resource.TCP)] && whole[Protocol(resource.UDP)] && whole[Protocol(icmp)] && len(whole) == len(list) {
		return "everything"
	}
	return strings.Join(list, "; ")
}

func (p Ports) numbers() string {
	if int(p.Protocol) != icmp {
		return rangesText([]work.PortRange{{First: p.First, Last: p.Last}})
	}
	if p.First&0xff == 0 && p.Last&0xff == 0xff { // whole types
		return rangesText([]work.PortRange{{First: p.First >> 8, Last: p.Last >> 8}})
	}
	first := fmt.Sprintf("%d/%d", p.First>>8, p.First&0xff)
	if p.First == p.Last {
		return first
	}
	return fmt.Sprintf("%s-%d/%d", first, p.Last>>8, p.Last&0xff)
}

func rangesText(list []work.PortRange) string {
	parts := make([]string, len(list))
	for i, r := range list {
		if parts[i] = strconv.Itoa(int(r.First)); r.Last != r.First {
			parts[i] += "-" + strconv.Itoa(int(r.Last))
		}
	}
	return strings.Join(parts, ", ")
}

// String is the app and environment, or the network.
func (g *Group) String() string {
	switch {
	case g.Network == "" && g.Environment == "":
		return g.App
	case g.Network == "":
		return g.App + " (" + g.Environment + ")"
	}
	s := g.Network
	if s == everywhere.String() {
		s = "any other address"
	}
	if len(g.Sets) > 0 {
		s += " (" + strings.Join(g.Sets, ", ") + ")"
	}
	if len(g.Except) > 0 && g.Network != everywhere.String() {
		s += " except " + strings.Join(g.Except, ", ")
	}
	return s
}

func spansKey(spans []Span) string {
	key, err := json.Marshal(spans)
	if err != nil {
		panic("reach: writing spans: " + err.Error()) // plain data: cannot fail
	}
	return string(key)
}
