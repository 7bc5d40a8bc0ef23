package firewall

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/work"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it anew):\n%s", name, got)
	}
}

func text(cs chains) string {
	var b strings.Builder
	for _, name := range sortedKeys(cs) {
		b.WriteString(name + "\n")
		for _, r := range cs[name] {
			b.WriteString("    " + r + "\n")
		}
	}
	return b.String()
}

func code(n int) *int { return &n }

// samples are programs that together use every condition and action.
func samples() []work.Program {
	const db = "NetworkPolicy production/db"
	many := make([]work.PortRange, 17)
	for i := range many {
		many[i] = work.PortRange{First: uint16(1000 + 10*i), Last: uint16(1000 + 10*i)}
	}
	many[3].Last += 5
	return []work.Program{
		{ID: "db", Policies: []string{"GlobalNetworkPolicy audit", db},
			Ingress: []work.Tier{
				{Name: "security", Rules: []work.Rule{
					{Action: work.Log, Protocol: 6, Policy: "GlobalNetworkPolicy audit", Index: 0, Dest: work.Match{Ports: []work.PortRange{{First: 22, Last: 22}}}},
					{Action: work.Deny, Policy: "GlobalNetworkPolicy audit", Index: 1, Source: work.Match{Sets: []string{"bad"}, NotSets: []string{"office"}}},
					{Action: work.Pass, Protocol: 6, Policy: "GlobalNetworkPolicy audit", Index: 2},
				}},
				{Name: "default", Rules: []work.Rule{
					{Action: work.Allow, Protocol: 6, Policy: db, Index: 0, Source: work.Match{Sets: []string{"web"}}, Dest: work.Match{Ports: many}},
					{Action: work.Allow, Protocol: 17, Policy: db, Index: 1, Dest: work.Match{Ports: []work.PortRange{{First: 53, Last: 53}}, PortSets: []string{"named"}}, Source: work.Match{NotPorts: []work.PortRange{{First: 1, Last: 1023}}}},
					{Action: work.Allow, Policy: db, Index: 2, Source: work.Match{PortSets: []string{"named"}}, Dest: work.Match{NotPortSets: []string{"named"}}},
					{Action: work.Allow, ICMP: &work.ICMP{Type: 8}, Policy: db, Index: 3},
					{Action: work.Allow, Protocol: 1, ICMP: &work.ICMP{Type: 3, Code: code(4)}, NotICMP: &work.ICMP{Type: 5}, Policy: db, Index: 4},
					{Action: work.Allow, NotProtocol: 47, Policy: db, Index: 5, Source: work.Match{Sets: []string{"web", "office"}}},
					{Action: work.Allow, Protocol: 132, NotProtocol: 6, Policy: db, Index: 6, Dest: work.Match{Ports: []work.PortRange{{First: 9, Last: 9}}, NotPorts: many[:2]}},
					{Action: work.Allow, Protocol: 253, Policy: "NetworkPolicy x/\"quoted\" \\ and odd\n", Index: 7},
					{Action: work.Deny, Policy: "default", Index: -1},
					{Action: work.Allow, Policy: db, Index: 8}, // can never be reached
				}},
			}},
		{ID: "open", Policies: []string{"NetworkPolicy staging/open"},
			Ingress: []work.Tier{{Name: "default", Rules: []work.Rule{{Action: work.Allow, Policy: "NetworkPolicy staging/open"}}}},
			Egress:  []work.Tier{{Name: "default", Rules: []work.Rule{{Action: work.Allow, Policy: "NetworkPolicy staging/open"}}}}},
	}
}

func TestRenderedPrograms(t *testing.T) {
	for _, p := range samples() {
		cs, err := program(&p)
		if err != nil {
			t.Fatal(err)
		}
		for name, rs := range cs {
			if len(name) > 28 {
				t.Errorf("chain name %q is too long for iptables", name)
			}
			for _, r := range rs {
				if i := strings.Index(r, "--nflog-prefix"); i > 0 && len(strings.Split(r[i:], `"`)[1]) > maxPrefix {
					t.Errorf("log prefix too long in %s", r)
				}
			}
		}
		golden(t, "program-"+p.ID+".golden", text(cs))
	}
}

func TestRenderedBase(t *testing.T) {
	golden(t, "base-mangle.golden", text(mangleBase().chains))
	golden(t, "base-filter.golden", text(filterBase([]uint16{5051}).chains))
	golden(t, "base-filter6.golden", text(filterBase6().chains))
}

// What cannot be said in rules is an error, never a rule that matches more.
func TestRulesThatCannotBe(t *testing.T) {
	port := work.Match{Ports: []work.PortRange{{First: 80, Last: 80}}}
	for name, r := range map[string]work.Rule{
		"ports without a protocol":     {Action: work.Allow, Dest: port},
		"ports of ICMP":                {Action: work.Allow, Protocol: 1, Dest: port},
		"not-ports without a protocol": {Action: work.Allow, Source: work.Match{NotPorts: port.Ports}},
		"ICMP type of TCP":             {Action: work.Allow, Protocol: 6, ICMP: &work.ICMP{Type: 8}},
		"unknown action":               {Action: "accept"},
		"protocol out of range":        {Action: work.Allow, Protocol: 256},
	} {
		p := work.Program{ID: "x", Ingress: []work.Tier{{Rules: []work.Rule{r}}}}
		if _, err := program(&p); !errors.Is(err, ErrRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The tree finds each posture in few steps, whatever their number, and a
// number that none has leads to the closed chain.
func TestDispatchTree(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 64, 500, 5000} {
		p := newPostures()
		for i := range n {
			if err := p.assign("p" + shortHash(string(rune(i)), "x")); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range []direction{egress, ingress} {
			tree := d.tree(p.used, func(string) string { return "x" })
			most := 0
			for id, num := range p.index {
				chain, steps := walkTree(t, tree, d, num)
				if chain != d.postureChain(id, 0) {
					t.Fatalf("%d postures: number %d leads to %s, want %s", n, num, chain, d.postureChain(id, 0))
				}
				most = max(most, steps)
			}
			for _, num := range []uint16{0, uint16(n + 1), indexMask} {
				if chain, _ := walkTree(t, tree, d, num); chain != chainClosed {
					t.Errorf("%d postures: number %d leads to %s", n, num, chain)
				}
			}
			if limit := 9 + 8*4; most > limit {
				t.Errorf("%d postures: %d steps", n, most)
			}
		}
	}
}

func walkTree(t *testing.T, tree chains, d direction, num uint16) (chain string, steps int) {
	t.Helper()
	chain = d.name
	for {
		rs, ok := tree[chain]
		if !ok {
			return chain, steps
		}
		for _, r := range rs {
			steps++
			f := strings.Fields(r)
			if f[0] == "-m" {
				value, mask := parseMark(t, f[3])
				if uint32(num)<<d.shift&mask != value {
					continue
				}
			}
			chain = f[len(f)-1]
			break
		}
	}
}
