package agent_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

var (
	chaosFor  = flag.Duration("chaos", 5*time.Second, "how long TestChaos goes on")
	chaosSeed = flag.Uint64("chaos-seed", 1, "what it does at random")
)

// Attaches, detaches, policy changes, kills, lost controllers and harm by
// others, at random, under traffic that must pass and traffic that must not.
// In the end: no packet wrongly passed, no allowed connection broken, nothing left.
func TestChaos(t *testing.T) {
	const backend = "nft"
	rnd := rand.New(rand.NewPCG(*chaosSeed, 0))
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = backend })
	db := func(extra int) work.Program { // what it allows stays, how it says so changes
		rules := []work.Rule{allow(6, "web", 80), allow(17, "web", 53)}
		for i := range extra {
			r := allow(6, "others", uint16(1000+i))
			r.Index = i
			rules = append([]work.Rule{r}, rules...)
		}
		return posture("db", tier(rules...), nil)
	}
	l.must(work.Item{
		Sets:     []work.Set{nets("web", "10.0.0.1"), nets("others")},
		Programs: []work.Program{db(0), posture("out", nil, tier(allow(0, "")))},
		Routes:   blocks()[:1],
	})
	web, server, thief := l.run("web", "10.0.0.1", "out"), l.run("db", "10.0.0.2", "db"), l.run("thief", "10.0.0.3", "out")
	server.Serve("udp", "10.0.0.2:53")
	server.Serve("tcp", "10.0.0.2:80")
	conn := web.hold("tcp", "10.0.0.2:80")
	flow := startStream(t, web.hold("udp", "10.0.0.2:53"))

	// The thief sends to a port that only the web may reach, and from ports
	// that are new each time, so that each packet meets the rules.
	var passed, tried atomic.Int64
	server.Do(func() error {
		pc, err := net.ListenPacket("udp4", "10.0.0.2:54")
		if err != nil {
			return err
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 10)
			for {
				if _, _, err := pc.ReadFrom(b); err != nil {
					return
				}
				passed.Add(1)
			}
		}()
		return nil
	})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		thief.Loop(stop, func() {
			c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP("10.0.0.2"), Port: 54})
			if err == nil {
				c.Write([]byte("x"))
				c.Close()
				tried.Add(1)
			}
		})
	}()

	extras := map[int]*task{}
	steps := map[string]int{}
	step := func(name string, f func()) {
		steps[name]++
		f()
	}
	for end := time.Now().Add(*chaosFor); time.Now().Before(end) && !t.Failed(); {
		i := 10 + rnd.IntN(10)
		switch n := rnd.IntN(100); {
		case n < 25 && extras[i] == nil:
			step("attach", func() { extras[i] = l.run(fmt.Sprintf("x%d", i), fmt.Sprintf("10.0.0.%d", i), "db") })
		case n < 50 && extras[i] != nil:
			step("detach", func() {
				l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + extras[i].executor}}})
				extras[i].del()
				l.await("detached", detached("fw/"+extras[i].executor))
				extras[i].Remove()
				delete(extras, i)
			})
		case n < 70:
			step("policy", func() { l.must(work.Item{Programs: []work.Program{db(rnd.IntN(20))}}) })
		case n < 85:
			step("members", func() {
				a := netip.AddrFrom4([4]byte{10, 9, 0, byte(rnd.IntN(250))}).String()
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Add: []string{a}}}})
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Remove: []string{a}}}})
			})
		case n < 90:
			step("kill", func() { l.kill(); l.start(); l.snapshot() })
		case n < 93:
			step("kill, no controller", func() { l.kill(); l.start(); awaitSynced(t, l, web); l.snapshot() })
		case n < 96:
			step("set flushed", func() { l.harm("ipset flush tw-s-others") })
		default:
			step("route removed", func() { l.harm("ip route del unreachable 10.0.0.0/24") })
		}
	}
	close(stop)
	<-done
	t.Logf("steps: %v; thief's packets: %d", steps, tried.Load())
	if sent, lost := flow.end(); lost > 0 {
		t.Errorf("%d of %d allowed packets were lost", lost, sent)
	}
	if err := netlab.Echo(conn, 5*time.Second); err != nil {
		t.Errorf("the allowed connection broke: %v", err)
	}
	if n := passed.Load(); n > 0 || tried.Load() < 100 {
		t.Errorf("%d of %d denied packets passed", n, tried.Load())
	}
	extras[0], extras[1], extras[2] = web, server, thief
	for _, tk := range extras {
		l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
		tk.del()
		l.await("detached", detached("fw/"+tk.executor))
	}
	l.must(work.Item{Delete: &work.Deletions{Programs: []string{"db", "out"}, Sets: []string{"web", "others"}, Routes: []netip.Prefix{blocks()[0].Prefix}}})
	nothingLeft(t, l, backend)
}

// harm is what others do to the host.
func (l *lab) harm(command string) {
	l.t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		l.t.Logf("%s: %v: %s", command, err, out) // it may not be mended from the last time yet
	}
}
