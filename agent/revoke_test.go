package agent_test

import (
	"net"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// hold opens a connection that lives on.
func (tk *task) hold(network, addr string) net.Conn {
	tk.l.t.Helper()
	c, err := tk.Dial(network, addr)
	if err == nil {
		tk.l.t.Cleanup(func() { c.Close() })
		err = netlab.Echo(c, 5*time.Second)
	}
	if err != nil {
		tk.l.t.Fatalf("%s to %s %s: %v", tk.executor, network, addr, err)
	}
	return c
}

// A permission that goes cuts just the established connections that it
// carried, in the item that takes it, and all others live on.
func TestRevocation(t *testing.T) {
	web, batch, db := "10.0.0.1", "10.0.0.2", "10.0.0.3"
	openDB := func(rules ...work.Rule) work.Program { return posture("db", tier(rules...), nil) }
	both := openDB(allow(6, "clients", 5432), allow(17, "clients", 5432), allow(6, "clients", 5433))
	for name, tc := range map[string]struct {
		change work.Item
		cut    []string // of the connections below
	}{
		"a rule goes": {work.Item{Programs: []work.Program{openDB(allow(6, "clients", 5432), allow(17, "clients", 5432))}}, []string{"web 5433"}},
		"a rule narrows to one client": {work.Item{
			Sets:     []work.Set{nets("web", web)},
			Programs: []work.Program{openDB(allow(6, "web", 5432, 5433), allow(17, "web", 5432))},
		}, []string{"batch tcp", "batch udp"}},
		"a member goes":   {work.Item{Members: []work.SetEdit{{ID: "clients", Remove: []string{batch}}}}, []string{"batch tcp", "batch udp"}},
		"a set shrinks":   {work.Item{Sets: []work.Set{nets("clients", web)}}, []string{"batch tcp", "batch udp"}},
		"a posture moves": {work.Item{Endpoints: []work.Endpoint{endpoint("web", web, "idle")}}, []string{"web tcp", "web 5433"}},
		"a ban comes":     {work.Item{Members: []work.SetEdit{{ID: "banned", Add: []string{web}}}}, []string{"web tcp", "web 5433"}},
		"a task ends":     {work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/web"}}}, []string{"web tcp", "web 5433"}},
		"a grant only": {work.Item{
			Members:  []work.SetEdit{{ID: "clients", Add: []string{"10.0.0.77"}}},
			Programs: []work.Program{posture("other", tier(allow(6, "clients")), nil)},
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
			ban := work.Rule{Action: work.Deny, Policy: "GlobalNetworkPolicy ban", Source: work.Match{Sets: []string{"banned"}}}
			out := tier(ban, to(allow(0, "db")))
			l.must(work.Item{
				Sets: []work.Set{nets("clients", web, batch), nets("db", db), nets("banned")},
				Programs: []work.Program{both, posture("client", nil, out),
					posture("idle", nil, nil)},
			})
			w, b, d := l.run("web", web, "client"), l.run("batch", batch, "client"), l.run("db", db, "db")
			for _, s := range []string{"5432", "5433"} {
				d.Serve("tcp", db+":"+s)
			}
			d.Serve("udp", db+":5432")
			conns := map[string]net.Conn{
				"web tcp": w.hold("tcp", db+":5432"), "web 5433": w.hold("tcp", db+":5433"),
				"batch tcp": b.hold("tcp", db+":5432"), "batch udp": b.hold("udp", db+":5432"),
			}
			fromHost, err := net.DialTimeout("tcp", db+":5432", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer fromHost.Close()
			conns["host"] = fromHost
			got := l.send(tc.change)
			if len(got.Failed) > 0 {
				t.Fatalf("%+v", got.Failed)
			}
			if got.Cut != len(tc.cut) {
				t.Errorf("cut %d connections, want %d", got.Cut, len(tc.cut))
			}
			gone := map[string]bool{}
			for _, c := range tc.cut {
				gone[c] = true
			}
			for name, c := range conns {
				wait := 5 * time.Second
				if gone[name] {
					wait = netlab.Wait
				}
				if err := netlab.Echo(c, wait); (err != nil) != gone[name] {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// A connection between hosts is cut at either end's host.
func TestRevocationBetweenHosts(t *testing.T) {
	l := newLab(t)
	far := neighbourHost(t)
	l.must(work.Item{
		Sets:     []work.Set{nets("far", "10.0.1.0/24")},
		Programs: []work.Program{posture("a", tier(allow(6, "far", 80)), tier(to(allow(6, "far", 5432))))},
		Routes:   blocks(),
	})
	a := l.run("a", "10.0.0.1", "a")
	a.Serve("tcp", "10.0.0.1:80")
	far.Serve("tcp", "10.0.1.7:5432")
	out := a.hold("tcp", "10.0.1.7:5432")
	in, err := far.DialFrom("tcp", "10.0.1.7", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got := l.send(work.Item{Programs: []work.Program{posture("a", nil, tier(to(allow(6, "far", 5432))))}}); got.Cut != 1 {
		t.Errorf("cut %d, want the one that came in", got.Cut)
	}
	if netlab.Echo(in, netlab.Wait) == nil {
		t.Error("the connection that came in lives on")
	}
	if err := netlab.Echo(out, 5*time.Second); err != nil {
		t.Errorf("the connection that went out: %v", err)
	}
	if got := l.send(work.Item{Members: []work.SetEdit{{ID: "far", Remove: []string{"10.0.1.0/24"}}}}); got.Cut != 1 {
		t.Errorf("cut %d, want the one that went out", got.Cut)
	}
	if netlab.Echo(out, netlab.Wait) == nil {
		t.Error("the connection that went out lives on")
	}
}
