package agent_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

var (
	chaosFor  = flag.Duration("chaos", 5*time.Second, "how long TestChaos goes on with each backend")
	chaosSeed = flag.Uint64("chaos-seed", 1, "what it does at random")
)

// harms are what others do to the host; B stands for the backend. With some of
// them the host is open, or a task closed, until they are mended.
var harms = []string{
	"ipset flush tw-s-others", "ipset flush tw-s-web", "ipset flush tw-src", "ipset flush tw-dst", "ipset flush tw-own",
	"ipset del tw-s-web 10.0.0.1",
	"ip route del unreachable 10.0.0.0/24", "ip route del 10.0.0.2", "ip route flush proto 84",
	"iptables-B -F", "iptables-B -F FORWARD", "iptables-B -t mangle -F", "ip6tables-B -F",
	"iptables-B -F tw-i-db", "iptables-B -F tw-task", "iptables-B -F tw-egress", "iptables-B -D tw-i-db 1",
	"iptables-B -D tw-forward 1",
	"iptables-B -I FORWARD -j ACCEPT",
	"echo 0 >/proc/sys/net/ipv4/ip_forward", "for f in /proc/sys/net/ipv4/conf/tw*; do echo 1 >$f/proxy_arp; echo 0 >$f/rp_filter; done",
}

// calm says when the host is as the agent left it: odd while somebody else has
// harmed it and it is not mended.
type calm struct{ turns atomic.Int64 }

func (c *calm) harmed() bool { return c.turns.Load()%2 == 1 }

// count counts what went wrong, apart for what others did.
type count struct{ tried, wrong, byOthers atomic.Int64 }

func (n *count) try(c *calm, ok func() bool) {
	before := c.turns.Load()
	n.tried.Add(1)
	if ok() {
		return
	}
	if before%2 == 1 || c.turns.Load() != before {
		n.byOthers.Add(1)
		return
	}
	n.wrong.Add(1)
}

func (n *count) String() string {
	return fmt.Sprintf("%d tried, %d wrong, %d wrong while others had harmed the host", n.tried.Load(), n.wrong.Load(), n.byOthers.Load())
}

// Attaches, detaches, policy changes, kills, lost controllers, lost messages
// and harm by others, at random, under traffic that must pass and traffic that
// must not. In the end: no packet wrongly passed, no allowed connection broken,
// nothing left. What passed or broke between somebody's harm and its mending is
// counted apart.
func TestChaos(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) { chaos(t, backend) })
	}
}

func chaos(t *testing.T, backend string) {
	rnd := rand.New(rand.NewPCG(*chaosSeed, 0))
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.CheckEvery = backend, time.Second })
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
	conn, flow := web.hold("tcp", "10.0.0.2:80"), web.hold("udp", "10.0.0.2:53")

	// The thief sends to a port that only the host may reach, and from ports
	// that are new each time, so that each packet meets the rules.
	var c calm
	var open, fresh, denied count
	mark := make(chan struct{}, 1)
	answers(t, server.Namespace, "10.0.0.2:54", func(said string, _ net.IP) string {
		switch {
		case said == "mark":
			mark <- struct{}{}
		case c.harmed():
			denied.byOthers.Add(1)
		default:
			denied.wrong.Add(1)
		}
		return ""
	})
	drain := func() { // until all that reached the server so far was counted
		for {
			if c, err := net.Dial("udp4", "10.0.0.2:54"); err == nil {
				c.Write([]byte("mark"))
				c.Close()
			}
			select {
			case <-mark:
				return
			case <-time.After(time.Second):
			}
		}
	}
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		thief.Loop(stop, func() {
			if c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP("10.0.0.2"), Port: 54}); err == nil {
				c.Write([]byte("x"))
				c.Close()
				denied.tried.Add(1)
			}
		})
	})
	const patience = 3 * time.Second // of a loaded machine, not of a firewall
	traffic.Go(func() {
		web.Loop(stop, func() { open.try(&c, func() bool { return netlab.Echo(flow, patience) == nil }) })
	})
	traffic.Go(func() {
		web.Loop(stop, func() {
			fresh.try(&c, func() bool {
				c, err := net.DialTimeout("tcp4", "10.0.0.2:80", patience)
				if err != nil {
					return false
				}
				defer c.Close()
				return netlab.Echo(c, patience) == nil
			})
		})
	})

	extras := map[int]*task{}
	steps := map[string]int{}
	step := func(name string, f func()) {
		steps[name]++
		f()
	}
	detach := func(i int) {
		l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + extras[i].executor}}})
		extras[i].del()
		l.await("detached", detached("fw/"+extras[i].executor))
		extras[i].Remove()
		delete(extras, i)
	}
	for end := time.Now().Add(*chaosFor); time.Now().Before(end) && !t.Failed(); {
		i := 10 + rnd.IntN(10)
		switch n := rnd.IntN(100); {
		case n < 20 && extras[i] == nil:
			step("attach", func() { extras[i] = l.run(fmt.Sprintf("x%d", i), fmt.Sprintf("10.0.0.%d", i), "db") })
		case n < 40 && extras[i] != nil:
			step("detach", func() { detach(i) })
		case n < 44 && extras[i] != nil:
			step("interface removed", func() {
				l.harm("ip link del " + extras[i].veth())
				detach(i)
			})
		case n < 60:
			step("policy", func() { l.must(work.Item{Programs: []work.Program{db(rnd.IntN(20))}}) })
		case n < 72:
			step("members", func() {
				a := netip.AddrFrom4([4]byte{10, 9, 0, byte(rnd.IntN(250))}).String()
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Add: []string{a}}}})
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Remove: []string{a}}}})
			})
		case n < 76:
			step("message lost", func() { l.lose(work.Item{Programs: []work.Program{db(rnd.IntN(20))}}) })
		case n < 82:
			step("kill", func() { l.kill(); l.start(); l.snapshot() })
		case n < 86:
			step("kill, no controller", func() { l.kill(); l.start(); awaitSynced(t, l, web); l.snapshot() })
		default:
			harm := strings.ReplaceAll(harms[rnd.IntN(len(harms))], "-B", "-"+backend)
			step(harm, func() {
				before := kernel(t, backend)
				c.turns.Add(1)
				l.harm(harm)
				awaitKernel(t, backend, before)
				drain()
				c.turns.Add(1)
			})
		}
	}
	close(stop)
	traffic.Wait()
	drain()
	total := 0
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		t.Logf("%4d  %s", steps[name], name)
		total += steps[name]
	}
	t.Logf("%d steps in %s", total, *chaosFor)
	t.Logf("denied packets: %s", &denied)
	t.Logf("echoes in an open flow: %s", &open)
	t.Logf("new connections: %s", &fresh)
	if open.wrong.Load()+fresh.wrong.Load()+denied.wrong.Load() > 0 {
		t.Error("packets passed or were lost that should not")
	}
	if denied.tried.Load() < 100 || open.tried.Load() < 100 {
		t.Error("too little traffic to show anything")
	}
	if err := netlab.Echo(conn, 5*time.Second); err != nil {
		t.Errorf("the allowed connection broke: %v", err)
	}
	extras[0], extras[1], extras[2] = web, server, thief
	for _, i := range slices.Sorted(maps.Keys(extras)) {
		detach(i)
	}
	l.must(work.Item{Delete: &work.Deletions{Programs: []string{"db", "out"}, Sets: []string{"web", "others"}, Routes: []netip.Prefix{blocks()[0].Prefix}}})
	nothingLeft(t, l, backend)
}

// lose lets an item go lost and sends the next: the agent asks for its picture.
func (l *lab) lose(it work.Item) {
	l.t.Helper()
	for range 2 {
		l.rev++
		it.Host, it.Rev = l.cfg.Host, l.rev
		if err := l.wanted.Apply(&it); err != nil {
			l.t.Fatal(err)
		}
	}
	l.items <- &it
	l.await("a join", func(r work.Report) bool { return r.Join != nil })
	l.snapshot()
}

// awaitKernel waits until the agent has mended what it programs. A rule that
// others put after our jump is not ours to remove: it is taken out here.
func awaitKernel(t *testing.T, backend, want string) {
	t.Helper()
	const strangers = "-A FORWARD -j ACCEPT\n"
	var now string
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		now = kernel(t, backend)
		at, jump := strings.Index(now, strangers), strings.Index(now, "-j tw-forward")
		if strings.ReplaceAll(now, strangers, "") == want && (at < 0 || jump < at) {
			if at >= 0 {
				if out, err := exec.Command("iptables-"+backend, "-D", "FORWARD", "-j", "ACCEPT").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			return
		}
	}
	t.Fatalf("not mended:\n%s", cmp.Diff(want, now))
}

// harm is what others do to the host.
func (l *lab) harm(command string) {
	l.t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		l.t.Logf("%s: %v: %s", command, err, out) // it may not be mended from the last time yet
	}
}
