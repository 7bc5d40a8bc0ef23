package agent_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

// A task that scans fills neither the reports nor hides what others do; what waits
// is told later, with its count.
func TestAScanNeitherFillsNorHidesReports(t *testing.T) {
	tally := agent.NewTally()
	scanner, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	port := uint16(0)
	scan := func() {
		for range 1000 {
			port++
			tally.Add(work.Logged{Action: work.Deny, Direction: "egress", Policy: "p", Source: scanner, Dest: other, Protocol: 6, Port: port})
		}
	}
	one := work.Logged{Action: work.Deny, Direction: "egress", Policy: "p", Source: other, Dest: scanner, Protocol: 6, Port: 5432}
	told, others, seconds := 0, 0, 600
	for i := range seconds {
		scan()
		tally.Add(one)
		tally.Add(one)
		waited := true
		for _, l := range tally.Take() {
			told++
			if l.Source == other {
				others += l.Count
				waited = false
			}
		}
		if waited {
			t.Fatalf("in second %d the other task's packets are not told", i)
		}
	}
	if others != 2*seconds {
		t.Errorf("%d packets of the other task are told, of %d", others, 2*seconds)
	}
	if limit := 2*seconds + 100; told > limit {
		t.Errorf("%d reports in %d seconds, more than %d", told, seconds, limit)
	}
	now := time.Now()
	if n := tally.Left(now); n < 1000*seconds-told-20 {
		t.Errorf("%d packets are said to be left", n)
	}
	if n := tally.Left(now.Add(time.Second)); n != 0 {
		t.Errorf("a second later, %d", n)
	}
	for range 30 { // it ends
		tally.Take()
	}
	if all := tally.Take(); len(all) > 0 {
		t.Errorf("still told: %+v", all)
	}
}

// Ingress is the receiver's, and what nobody decides is of one: forged sources make
// no room for more.
func TestForgedSourcesShareOneRoom(t *testing.T) {
	tally := agent.NewTally()
	for i := range 200 {
		from := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		tally.Add(work.Logged{Action: work.Deny, Direction: "", Source: from, Dest: netip.MustParseAddr("10.0.0.1"), Policy: "closed"})
		tally.Add(work.Logged{Action: work.Deny, Direction: "ingress", Source: from, Dest: netip.MustParseAddr("10.0.0.1"), Policy: "p"})
	}
	tally.Add(work.Logged{Action: work.Deny, Direction: "ingress", Source: netip.MustParseAddr("203.0.113.7"), Dest: netip.MustParseAddr("10.0.0.2"), Policy: "p"})
	all := tally.Take()
	if len(all) != 41 {
		t.Errorf("%d kinds are told, want 20 of nobody's, 20 of one task's and 1 of another's", len(all))
	}
}
