package agent_test

import (
	"flag"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

var changing = flag.Duration("changing", 2*time.Second, "how long TestNoPacketMeetsHalfAPolicy changes policies in each case")

// While policies change all the time, no packet meets half of one: each new
// connection that both the old and the new policy allow works, none that both deny
// does. That goes for a posture whose program changes, and for one that gives way
// to another, as when a new policy selects a task.
func TestNoPacketMeetsHalfAPolicy(t *testing.T) {
	change := func(i int, p work.Program) work.Item { // and the members of the sets that it names and named
		enter, leave := work.SetEdit{ID: "friends", Add: []string{"10.0.0.0/24"}}, work.SetEdit{ID: "web", Remove: []string{"10.0.0.1"}}
		if i%2 == 1 {
			enter, leave = work.SetEdit{ID: "web", Add: leave.Remove}, work.SetEdit{ID: "friends", Remove: enter.Add}
		}
		return work.Item{Programs: []work.Program{p}, Members: []work.SetEdit{enter, leave}}
	}
	replace := func(i int, p work.Program) work.Item {
		p.ID = fmt.Sprint("db", i+1)
		return work.Item{
			Programs: []work.Program{p}, Endpoints: []work.Endpoint{endpoint("db", "10.0.0.2", p.ID)},
			Delete: &work.Deletions{Programs: []string{fmt.Sprint("db", i)}},
		}
	}
	for name, item := range map[string]func(i int, p work.Program) work.Item{"changed": change, "replaced": replace} {
		for _, backend := range bothBackends {
			t.Run(name+"/"+backend, func(t *testing.T) { noPacketMeetsHalfAPolicy(t, backend, item) })
		}
	}
}

func noPacketMeetsHalfAPolicy(t *testing.T, backend string, item func(i int, p work.Program) work.Item) {
	l := newLab(t, func(c *agent.Config) { c.Backend = backend })
	// The two versions allow and deny the same by other rules, sets and
	// tiers.
	ban := work.Rule{Action: work.Deny, Policy: "GlobalNetworkPolicy ban", Source: work.Match{Sets: []string{"thieves"}}}
	open := allow(17, "")
	one := posture("db0", tier(ban, allow(17, "web", 53), open), nil)
	two := posture("db0", []work.Tier{
		{Name: "guard", Rules: []work.Rule{{Action: work.Pass, Protocol: 17, Policy: "GlobalNetworkPolicy guard", Source: work.Match{NotSets: []string{"thieves"}}}, ban}},
		{Name: "default", Rules: []work.Rule{allow(17, "friends", 53)}},
	}, nil)
	l.must(work.Item{
		Sets:     []work.Set{nets("web", "10.0.0.1"), nets("thieves", "10.0.0.3"), nets("friends", "10.0.0.0/24")},
		Programs: []work.Program{one, posture("out", nil, tier(allow(0, "")))},
	})
	web, db, thief := l.run("web", "10.0.0.1", "out"), l.run("db", "10.0.0.2", "db0"), l.run("thief", "10.0.0.3", "out")
	var asked, answered, passed atomic.Int64
	answers(t, db.Namespace, "10.0.0.2:53", func(said string, _ net.IP) string {
		switch said {
		case "web":
			answered.Add(1)
		case "thief":
			passed.Add(1)
		}
		return ""
	})
	stop := make(chan struct{})
	var senders sync.WaitGroup
	var tried atomic.Int64
	for _, s := range []struct {
		*task
		word string
		n    *atomic.Int64
	}{{web, "web", &asked}, {thief, "thief", &tried}} {
		senders.Go(func() {
			s.Loop(stop, func() { // from a port that is new each time
				c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP("10.0.0.2"), Port: 53})
				if err != nil {
					return
				}
				if _, err := c.Write([]byte(s.word)); err == nil {
					s.n.Add(1)
				}
				c.Close()
			})
		})
	}
	changes := 0
	for end := time.Now().Add(*changing); time.Now().Before(end); changes++ {
		p := one
		if changes%2 == 0 {
			p = two
		}
		if a := l.send(item(changes, p)); len(a.Failed) > 0 || a.Cut > 0 {
			t.Fatalf("%+v", a)
		}
	}
	close(stop)
	senders.Wait()
	for limit := time.Now().Add(5 * time.Second); answered.Load() < asked.Load() && time.Now().Before(limit); {
		time.Sleep(time.Millisecond) // the last are on their way
	}
	t.Logf("%d changes under %d and %d new connections", changes, asked.Load(), tried.Load())
	if asked.Load() != answered.Load() || asked.Load() < 100 {
		t.Errorf("%d of %d allowed packets arrived", answered.Load(), asked.Load())
	}
	if passed.Load() > 0 || tried.Load() < 100 {
		t.Errorf("%d of %d denied packets passed", passed.Load(), tried.Load())
	}
}
