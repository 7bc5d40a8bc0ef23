package agent_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/verdict"
	"github.com/taskwall/taskwall/events/work"
)

// What the agent believes a posture says, when it looks for connections to
// cut, is what the kernel does: random postures, real packets.
func TestVerdictsAreTheKernels(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	sets := []work.Set{nets("a", "10.0.0.1"), nets("b", "10.0.0.2", "10.9.0.0/16"), nets("ab", "10.0.0.0/24"), nets("none"), nets("all", "0.0.0.0/0"),
		{ID: "p", Type: work.Ports, Members: []string{"10.0.0.9,tcp:7001", "10.0.0.9,udp:7002"}}}
	l.must(work.Item{Sets: sets, Programs: []work.Program{posture("out", nil, tier(allow(0, ""))), posture("in", nil, nil)}})
	clients := []*task{l.run("a", "10.0.0.1", "out"), l.run("b", "10.0.0.2", "out")}
	server := l.run("s", "10.0.0.9", "in")
	const first, ports = 7000, 4
	arrived := make(chan string, 1000)
	for port := first; port < first+ports; port++ {
		answers(t, server.Namespace, fmt.Sprintf("10.0.0.9:%d", port), func(said string, from net.IP) string {
			arrived <- fmt.Sprintf("%s %s %d", said, from, port)
			return ""
		})
	}
	pick := func(ids ...string) []string {
		if rnd.IntN(2) == 0 {
			return nil
		}
		return []string{ids[rnd.IntN(len(ids))]}
	}
	ranges := func() []work.PortRange {
		if rnd.IntN(2) == 0 {
			return nil
		}
		p := uint16(first + rnd.IntN(ports))
		return []work.PortRange{{First: p, Last: p + uint16(rnd.IntN(3))}}
	}
	rule := func(i int) work.Rule {
		r := work.Rule{Action: []work.Action{work.Allow, work.Allow, work.Deny, work.Pass, work.Log}[rnd.IntN(5)], Policy: "NetworkPolicy x/random", Index: i}
		if r.Protocol = []int{0, 17, 17, 6}[rnd.IntN(4)]; r.Protocol == 0 && rnd.IntN(3) == 0 {
			r.NotProtocol = []int{6, 17}[rnd.IntN(2)]
		}
		r.Source.Sets, r.Source.NotSets = pick("a", "b", "ab", "none", "all"), pick("a", "b", "none")
		if r.Protocol != 0 {
			r.Dest.Ports, r.Dest.NotPorts = ranges(), ranges()
		}
		r.Dest.PortSets = pick("p")
		if rnd.IntN(4) == 0 {
			r.Dest.NotPortSets = []string{"p"}
		}
		return r
	}
	allowed, denied := 0, 0
	for round := range 60 {
		p := posture("in", nil, nil)
		for range rnd.IntN(3) {
			var rules []work.Rule
			for i := range rnd.IntN(5) {
				rules = append(rules, rule(i))
			}
			p.Ingress = append(p.Ingress, work.Tier{Name: "t", Rules: rules})
		}
		l.must(work.Item{Programs: []work.Program{p}})
		want := map[string]bool{}
		for _, c := range clients {
			for i := range ports {
				pkt := verdict.Packet{Proto: 17, Src: netip.MustParseAddr(c.addr), Dst: netip.MustParseAddr("10.0.0.9"), DstPort: uint16(first + i)}
				word := fmt.Sprintf("%d %s %d", round, c.addr, first+i)
				want[word] = verdict.Allows(p.Ingress, pkt, verdict.Of(l.wanted.Sets))
				conn, err := c.Dial("udp", fmt.Sprintf("10.0.0.9:%d", first+i))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(conn, round); err != nil {
					t.Fatal(err)
				}
				conn.Close()
			}
		}
		expect := 0
		for _, ok := range want {
			if ok {
				expect++
				allowed++
			} else {
				denied++
			}
		}
		// All that are expected must come; what comes beside them in a moment
		// must not.
		for grace := (<-chan time.Time)(nil); ; {
			if expect == 0 && grace == nil {
				grace = time.After(20 * time.Millisecond)
			}
			select {
			case word := <-arrived:
				if !want[word] {
					t.Fatalf("%s passed and must not by\n%+v", word, p)
				}
				delete(want, word)
				expect--
				continue
			case <-time.After(3 * time.Second):
				t.Fatalf("%v: some of it did not pass by\n%+v", want, p)
			case <-grace:
			}
			break
		}
	}
	if allowed < 50 || denied < 50 {
		t.Errorf("%d allowed and %d denied: the postures are no test", allowed, denied)
	}
}
