package agent_test

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// gate stands before the kernel's connection tracking: it counts the looks, and
// has them wait, or fail.
type gate struct {
	agent.Tracking
	agent *agent.Agent
	mu    sync.Mutex
	looks int
	fails int
	blind int              // looks that see nothing
	usage *conntrack.Usage // in place of the kernel's
	shut  chan struct{}    // looks wait until it is closed
	at    chan struct{}    // a look waits
}

func (g *gate) Flows(addrs ...netip.Addr) ([]conntrack.Flow, error) {
	g.mu.Lock()
	g.looks++
	fails, blind, shut := g.fails > 0, g.blind > 0, g.shut
	g.fails, g.blind = max(0, g.fails-1), max(0, g.blind-1)
	g.mu.Unlock()
	if shut != nil {
		select {
		case g.at <- struct{}{}:
		default:
		}
		<-shut
	}
	if fails {
		return nil, errors.New("a fault of the test's")
	}
	if blind {
		return nil, nil
	}
	return g.Tracking.Flows(addrs...)
}

func (g *gate) Usage() (conntrack.Usage, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.usage != nil {
		return *g.usage, nil
	}
	return g.Tracking.Usage()
}

func (g *gate) set(shut chan struct{}, fails int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks, g.shut, g.fails = 0, shut, fails
}

// gated starts the lab's agent anew, with a gate, and waits until the start's own
// looks are over.
func (l *lab) gated() *gate {
	l.t.Helper()
	g := &gate{at: make(chan struct{}, 1)}
	l.stop()
	l.prepare = func(a *agent.Agent) {
		g.agent = a
		a.Through(func(t agent.Tracking) agent.Tracking { g.Tracking = t; return g })
	}
	l.start()
	l.snapshot()
	eventually(l.t, "the start's own two looks are over", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.looks > 1 })
	return g
}

func has(set, member string) bool { return exec.Command("ipset", "test", set, member).Run() == nil }

// To find connections among many takes long. Meanwhile tasks are attached and
// sets and verdicts change; what these deny is looked for together, and each item's
// report comes in its turn and says what was cut for it.
func TestWorkGoesOnWhileConnectionsAreCut(t *testing.T) {
	l := newLab(t)
	clients := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	db := "10.0.0.9"
	l.must(work.Item{
		Sets:     []work.Set{nets("clients", append(clients, "10.0.0.4")...), nets("web")},
		Programs: []work.Program{posture("db", tier(allow(6, "clients", 5432)), nil), posture("client", nil, tier(allow(0, "")))},
	})
	server := l.run("db", db, "db")
	server.Serve("tcp", db+":5432")
	var conns []net.Conn
	for i, addr := range clients {
		conns = append(conns, l.run("client"+string(rune('1'+i)), addr, "client").hold("tcp", db+":5432"))
	}
	stays := l.run("client4", "10.0.0.4", "client").hold("tcp", db+":5432")
	g := l.gated()

	shut := make(chan struct{})
	g.set(shut, 0)
	open := sync.OnceFunc(func() { close(shut) })
	defer open()
	first := l.rev + 1
	l.post(work.Item{Members: []work.SetEdit{{ID: "clients", Remove: clients[:1]}}})
	<-g.at
	l.post(work.Item{Members: []work.SetEdit{{ID: "web", Add: []string{"10.0.0.77"}}}, Endpoints: []work.Endpoint{endpoint("late", "10.0.0.5", "client")}})
	for _, addr := range clients[1:] {
		l.post(work.Item{Members: []work.SetEdit{{ID: "clients", Remove: []string{addr}}}})
	}
	eventually(t, "a set's members come and go", func() bool {
		return has("tw-s-web", "10.0.0.77") && !has("tw-s-clients", clients[1]) && !has("tw-s-clients", clients[2])
	})
	late := l.container("late")
	late.mustAdd()
	late.blocked("tcp", db+":5432")

	g.mu.Lock()
	g.shut = nil
	g.mu.Unlock()
	open()
	cut := map[uint64]int{} // by revision; one that cut nothing may be left out for a later one
	for last := uint64(0); last < l.rev; {
		r := l.await("an item's cuts", func(r work.Report) bool { return r.Applied != nil }).Applied
		if r.Rev <= last || len(r.Failed) > 0 {
			t.Fatalf("after revision %d: %+v", last, r)
		}
		last = r.Rev
		if r.Cut > 0 {
			cut[r.Rev] = r.Cut
		}
	}
	if want := map[uint64]int{first: 1, first + 2: 1, first + 3: 1}; !maps.Equal(cut, want) {
		t.Errorf("the items' reports say that %v were cut, want %v", cut, want)
	}
	g.mu.Lock()
	if g.looks != 2 {
		t.Errorf("%d looks at the connections, want one for the first item and one for all that waited", g.looks)
	}
	g.mu.Unlock()
	for i, c := range conns {
		if netlab.Echo(c, netlab.Wait) == nil {
			t.Errorf("the connection of %s lives on", clients[i])
		}
	}
	if err := netlab.Echo(stays, 5*time.Second); err != nil {
		t.Errorf("the connection that is allowed: %v", err)
	}
}

// What is judged later is judged by what was in force when its turn came: an
// item that is being applied meanwhile cuts nothing that it will allow in another way.
func TestCutsJudgeByWhatIsInForce(t *testing.T) {
	l := newLab(t)
	web, db := "10.0.0.1", "10.0.0.9"
	l.must(work.Item{
		Sets:     []work.Set{nets("clients", web, "10.0.0.77")},
		Programs: []work.Program{posture("db", tier(allow(6, "clients", 5432)), nil), posture("client", nil, tier(allow(0, "")))},
	})
	server := l.run("db", db, "db")
	server.Serve("tcp", db+":5432")
	conn := l.run("web", web, "client").hold("tcp", db+":5432")
	g := l.gated()
	shut := make(chan struct{})
	g.set(shut, 0)
	open := sync.OnceFunc(func() { close(shut) })
	defer open()
	l.post(work.Item{Members: []work.SetEdit{{ID: "clients", Remove: []string{"10.0.0.77"}}}, Endpoints: []work.Endpoint{endpoint("db", db, "db"), endpoint("web", web, "client")}})
	l.post(work.Item{Programs: []work.Program{posture("db", tier(allow(6, "clients", 5432), allow(17, "clients", 53)), nil)}})
	<-g.at
	// The set and the posture go, and others take their place.
	l.post(work.Item{
		Sets: []work.Set{nets("callers", web)}, Programs: []work.Program{posture("db2", tier(allow(6, "callers", 5432)), nil)},
		Endpoints: []work.Endpoint{endpoint("db", db, "db2")}, Members: []work.SetEdit{{ID: "clients", Remove: []string{web}}},
		Delete: &work.Deletions{Programs: []string{"db"}, Sets: []string{"clients"}},
	})
	eventually(t, "the new set is there", func() bool { return has("tw-s-callers", web) && !has("tw-s-clients", web) })
	g.mu.Lock()
	g.shut = nil
	g.mu.Unlock()
	open()
	l.await("the last item", func(r work.Report) bool {
		if r.Applied != nil && r.Applied.Cut > 0 {
			t.Errorf("revision %d cut %d connections", r.Applied.Rev, r.Applied.Cut)
		}
		return r.Applied != nil && r.Applied.Rev == l.rev
	})
	if err := netlab.Echo(conn, 5*time.Second); err != nil {
		t.Errorf("the connection that was allowed all along: %v", err)
	}
}

// A look that fails is reported, and made again until it does not.
func TestFailedLookIsMadeAgain(t *testing.T) {
	l := newLab(t)
	web, db := "10.0.0.1", "10.0.0.9"
	l.must(work.Item{
		Sets:     []work.Set{nets("clients", web)},
		Programs: []work.Program{posture("db", tier(allow(6, "clients", 5432)), nil), posture("client", nil, tier(allow(0, "")))},
	})
	l.run("db", db, "db").Serve("tcp", db+":5432")
	conn := l.run("web", web, "client").hold("tcp", db+":5432")
	g := l.gated()
	g.set(nil, 2)
	got := l.send(work.Item{Members: []work.SetEdit{{ID: "clients", Remove: []string{web}}}})
	if len(got.Failed) != 1 || got.Failed[0].Key != "tracked connections" {
		t.Errorf("the report says %+v", got)
	}
	eventually(t, "the connection is cut", func() bool { return netlab.Echo(conn, netlab.Wait) != nil })
}

// A connection that somebody's rule let through, and that was tracked only after the
// look that follows on the mending, is found by another look.
func TestSecondLookAfterDrift(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("db", nil, nil), posture("client", nil, tier(allow(0, "")))}})
	l.run("db", "10.0.0.9", "db").Serve("tcp", "10.0.0.9:5432")
	web := l.run("web", "10.0.0.1", "client")
	g := l.gated()
	g.mu.Lock()
	g.blind = 1
	g.mu.Unlock()
	// The agent hears of the rule, and waits with its check while work is going on.
	release := g.agent.Hang()
	l.harm("iptables-nft -I FORWARD -j ACCEPT")
	conn := web.hold("tcp", "10.0.0.9:5432")
	release()
	eventually(t, "the connection is cut", func() bool { return netlab.Echo(conn, netlab.Wait) != nil })
}

// A task that is attached while its posture changes, and connects at once under
// the old one, does not keep that connection.
func TestConnectionMadeWhileVerdictChanges(t *testing.T) {
	dir := t.TempDir()
	hold, held := filepath.Join(dir, "hold"), filepath.Join(dir, "held")
	tool, err := exec.LookPath("iptables-nft-restore")
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("HOLD", hold, "HELD", held, "TRUE", tool).Replace(
		"#!/bin/sh\nif [ -e HOLD ]; then touch HELD; while [ -e HOLD ]; do sleep 0.02; done; fi\nexec TRUE \"$@\"\n")
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(tool)), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	web, db := "10.0.0.1", "10.0.0.9"
	l.must(work.Item{
		Sets:      []work.Set{nets("clients", web)},
		Programs:  []work.Program{posture("db", tier(allow(6, "clients", 5432)), nil), posture("client", nil, tier(allow(0, "")))},
		Endpoints: []work.Endpoint{endpoint("web", web, "client")},
	})
	l.run("db", db, "db").Serve("tcp", db+":5432")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(hold) })
	l.post(work.Item{Programs: []work.Program{posture("idle", nil, nil)}, Endpoints: []work.Endpoint{endpoint("web", web, "idle")}})
	eventually(t, "the rules are being written", func() bool { _, err := os.Stat(held); return err == nil })
	tk := l.container("web")
	tk.addr = web
	tk.mustAdd()
	conn := tk.hold("tcp", db+":5432")
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	r := l.await("the item", func(r work.Report) bool { return r.Applied != nil && r.Applied.Rev == l.rev })
	if r.Applied.Cut != 1 {
		t.Errorf("cut %d connections, want the one", r.Applied.Cut)
	}
	if netlab.Echo(conn, netlab.Wait) == nil {
		t.Error("the connection lives on")
	}
}
