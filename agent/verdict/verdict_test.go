package verdict_test

import (
	"net/netip"
	"testing"

	"github.com/taskwall/taskwall/agent/verdict"
	"github.com/taskwall/taskwall/events/work"
)

var sets = verdict.Of(map[string]*work.SetState{
	"web":   {Type: work.Nets, Members: map[string]struct{}{"10.0.0.1": {}, "10.8.0.0/16": {}}},
	"all":   {Type: work.Nets, Members: map[string]struct{}{"0.0.0.0/0": {}}},
	"named": {Type: work.Ports, Members: map[string]struct{}{"10.0.0.2,tcp:8080": {}}},
})

func tcp(src, dst string, port uint16) verdict.Packet {
	return verdict.Packet{Proto: 6, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: 40000, DstPort: port}
}

func ports(first, last uint16) []work.PortRange { return []work.PortRange{{First: first, Last: last}} }

func TestAllows(t *testing.T) {
	allow, deny, pass := work.Rule{Action: work.Allow}, work.Rule{Action: work.Deny}, work.Rule{Action: work.Pass}
	with := func(r work.Rule, src, dst work.Match) work.Rule {
		r.Source, r.Dest = src, dst
		return r
	}
	from := func(ids ...string) work.Match { return work.Match{Sets: ids} }
	p := tcp("10.0.0.1", "10.0.0.2", 8080)
	ping := verdict.Packet{Proto: 1, Src: p.Src, Dst: p.Dst, ICMPType: 8}
	four := 4
	for name, tc := range map[string]struct {
		tiers [][]work.Rule
		p     verdict.Packet
		want  bool
	}{
		"no tiers":                      {nil, p, false},
		"no rules":                      {[][]work.Rule{{}}, p, false},
		"allow":                         {[][]work.Rule{{allow}}, p, true},
		"first decides":                 {[][]work.Rule{{deny, allow}}, p, false},
		"log goes on":                   {[][]work.Rule{{{Action: work.Log}, allow}}, p, true},
		"end of tier goes on":           {[][]work.Rule{{}, {allow}}, p, true},
		"pass skips the tier":           {[][]work.Rule{{pass, deny}, {allow}}, p, true},
		"pass out of the last":          {[][]work.Rule{{pass, allow}}, p, false},
		"source in set":                 {[][]work.Rule{{with(allow, from("web"), work.Match{})}}, p, true},
		"source in network of set":      {[][]work.Rule{{with(allow, from("web"), work.Match{})}}, tcp("10.8.3.4", "10.0.0.2", 1), true},
		"source not in set":             {[][]work.Rule{{with(allow, from("web"), work.Match{})}}, tcp("10.9.3.4", "10.0.0.2", 1), false},
		"everyone":                      {[][]work.Rule{{with(allow, from("all"), work.Match{})}}, tcp("1.2.3.4", "10.0.0.2", 1), true},
		"in every set":                  {[][]work.Rule{{with(allow, from("web", "none"), work.Match{})}}, p, false},
		"not in set":                    {[][]work.Rule{{with(allow, work.Match{NotSets: []string{"web"}}, work.Match{})}}, p, false},
		"port":                          {[][]work.Rule{{with(allow, work.Match{}, work.Match{Ports: ports(8000, 8080)})}}, p, true},
		"another port":                  {[][]work.Rule{{with(allow, work.Match{}, work.Match{Ports: ports(1, 8079)})}}, p, false},
		"port set":                      {[][]work.Rule{{with(allow, work.Match{}, work.Match{PortSets: []string{"named"}})}}, p, true},
		"ports or port set":             {[][]work.Rule{{with(allow, work.Match{}, work.Match{Ports: ports(1, 2), PortSets: []string{"named"}})}}, p, true},
		"port set of another protocol":  {[][]work.Rule{{with(allow, work.Match{}, work.Match{PortSets: []string{"named"}})}}, verdict.Packet{Proto: 17, Src: p.Src, Dst: p.Dst, DstPort: 8080}, false},
		"not port":                      {[][]work.Rule{{with(allow, work.Match{}, work.Match{NotPorts: ports(8080, 8080)})}}, p, false},
		"not port set":                  {[][]work.Rule{{with(allow, work.Match{}, work.Match{NotPortSets: []string{"named"}})}}, p, false},
		"protocol":                      {[][]work.Rule{{{Action: work.Allow, Protocol: 17}}}, p, false},
		"not protocol":                  {[][]work.Rule{{{Action: work.Allow, NotProtocol: 6}}}, p, false},
		"ICMP type":                     {[][]work.Rule{{{Action: work.Allow, ICMP: &work.ICMP{Type: 8}}}}, ping, true},
		"ICMP code":                     {[][]work.Rule{{{Action: work.Allow, ICMP: &work.ICMP{Type: 8, Code: &four}}}}, ping, false},
		"not ICMP type":                 {[][]work.Rule{{{Action: work.Allow, NotICMP: &work.ICMP{Type: 8}}}}, ping, false},
		"ICMP type says ICMP":           {[][]work.Rule{{{Action: work.Allow, ICMP: &work.ICMP{Type: 0}}}}, p, false},
		"not ICMP type still says ICMP": {[][]work.Rule{{{Action: work.Allow, NotICMP: &work.ICMP{Type: 9}}}}, p, false},
	} {
		var tiers []work.Tier
		for _, rs := range tc.tiers {
			tiers = append(tiers, work.Tier{Rules: rs})
		}
		if got := verdict.Allows(tiers, tc.p, sets); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPolarities(t *testing.T) {
	m := func(in, out string) work.Match { return work.Match{Sets: []string{in}, NotSets: []string{out}} }
	p := work.Program{Ingress: []work.Tier{{Rules: []work.Rule{
		{Action: work.Allow, Source: m("a", "b")},
		{Action: work.Deny, Source: m("c", "d")},
		{Action: work.Pass, Source: m("e", "f")},
		{Action: work.Log, Source: m("g", "h")},
	}}}}
	got := verdict.Polarities(&p)
	both := verdict.Polarity{Grants: true, Denies: true}
	for id, want := range map[string]verdict.Polarity{
		"a": {Grants: true}, "b": {Denies: true}, "c": {Denies: true}, "d": {Grants: true}, "e": both, "f": both, "g": {}, "h": {},
	} {
		if got[id] != want {
			t.Errorf("%s: %+v, want %+v", id, got[id], want)
		}
	}
}
