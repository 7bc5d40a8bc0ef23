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
	l := newLab(t, inProcess, disk(t, "8m"), func(c *agent.Config) {
		c.Backend, c.CheckEvery, c.SweepEvery = backend, time.Second, 500*time.Millisecond
	})
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
	conn, idle, flow := web.hold("tcp", "10.0.0.2:80"), web.hold("tcp", "10.0.0.2:80"), web.hold("udp", "10.0.0.2:53")

	// The thief sends to a port that only the host may reach, and from ports
	// that are new each time, so that each packet meets the rules.
	var c calm
	var open, fresh, denied count
	mark := make(chan struct{}, 1)
	server.Do(func() error {
		pc, err := net.ListenPacket("udp4", "10.0.0.2:54")
		if err != nil {
			return err
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 10)
			for {
				n, _, err := pc.ReadFrom(b)
				switch {
				case err != nil:
					return
				case string(b[:n]) == "mark":
					mark <- struct{}{}
				case c.harmed():
					denied.byOthers.Add(1)
				default:
					denied.wrong.Add(1)
				}
			}
		}()
		return nil
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
	var steps []string
	lives := func(conn net.Conn) {
		t.Helper()
		if err := netlab.Echo(conn, 5*time.Second); err != nil {
			t.Errorf("an allowed connection, %s, broke: %v", conn.LocalAddr(), err)
			_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
			look := "conntrack -L -p tcp --orig-port-src " + port + "; ss -tinoe | grep -A1 :" + port
			for _, where := range []string{"", "nsenter --net=" + web.Path + " ", "nsenter --net=" + server.Path + " "} {
				out, _ := exec.Command("sh", "-c", where+"sh -c '"+look+"'").CombinedOutput()
				t.Logf("%s:\n%s", where, out)
			}
		}
	}
	step := func(name string, f func()) {
		t.Helper()
		steps = append(steps, name)
		f()
		if lives(conn); t.Failed() {
			t.Errorf("after the steps %q", steps)
		}
	}
	detach := func(i int) {
		l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + extras[i].executor}}})
		extras[i].del()
		l.await("detached", detached("fw/"+extras[i].executor))
		extras[i].Remove()
		delete(extras, i)
	}
	policy := func() work.Item { return work.Item{Programs: []work.Program{db(rnd.IntN(20))}} }
	// harm is somebody's, in the midst of something else, until the kernel is as
	// wanted.
	harm := func(want string, kills bool, meanwhile func()) {
		// Without any dispatch left a new process numbers the postures anew.
		command := strings.ReplaceAll(harms[rnd.IntN(len(harms))], "-B", "-"+backend)
		for kills && command == "iptables-"+backend+" -F" {
			command = strings.ReplaceAll(harms[rnd.IntN(len(harms))], "-B", "-"+backend)
		}
		steps = append(steps, command)
		c.turns.Add(1)
		l.harm(command)
		meanwhile()
		awaitKernel(t, backend, want)
		drain()
		c.turns.Add(1)
	}
	together := map[string]func(){
		"harm, kill while it is mended": func() {
			harm(kernel(t, backend), true, func() {
				time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond) // it is mended after a second or so
				l.kill()
				l.start()
				if rnd.IntN(2) == 0 {
					awaitSynced(t, l, web)
				}
				l.snapshot()
			})
		},
		"harm, policy lost": func() {
			next := policy()
			l.must(next)
			want := kernel(t, backend)
			l.must(policy())
			harm(want, false, func() { l.lose(next) })
		},
		"harm, policy, the xtables lock held": func() {
			next := policy()
			l.must(next)
			want := kernel(t, backend)
			l.must(policy())
			harm(want, false, func() {
				lock := exec.Command("flock", "/run/xtables.lock", "sleep", fmt.Sprint(rnd.Float64()))
				if err := lock.Start(); err != nil {
					t.Fatal(err)
				}
				l.must(next)
				lock.Wait()
			})
		},
		"harm, disk full, policy, kill": func() {
			next := policy()
			l.must(next)
			want := kernel(t, backend)
			l.must(policy())
			harm(want, true, func() {
				free := fill(t, l.cfg.StateDir)
				defer free()
				l.must(next)
				l.kill()
				l.start()
				l.snapshot()
			})
		},
		"disk full, policy, kill": func() {
			free := fill(t, l.cfg.StateDir)
			l.must(policy())
			l.kill()
			l.start()
			l.snapshot()
			free()
		},
		"policy while the agent is dead": func() {
			l.kill()
			l.post(policy())
			l.start()
			awaitSynced(t, l, web)
			l.snapshot()
		},
		"detach during a restart": func() {
			for _, i := range slices.Sorted(maps.Keys(extras))[:min(1, len(extras))] {
				tk, id := extras[i], "fw/"+extras[i].executor
				l.kill()
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					tk.plugin("DEL", tk.config("0.2.0", "taskwall")) // it may give up, and leaves the rest to the sweep
				}()
				l.start()
				l.snapshot()
				<-gone
				l.mesos.remove(tk.container)
				l.post(work.Item{Delete: &work.Deletions{Endpoints: []string{id}}})
				l.await("detached", detached(id))
				tk.Remove()
				delete(extras, i)
			}
		},
	}
	names := slices.Sorted(maps.Keys(together))
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
		case n < 56:
			step("policy", func() { l.must(policy()) })
		case n < 64:
			step("members", func() {
				a := netip.AddrFrom4([4]byte{10, 9, 0, byte(rnd.IntN(250))}).String()
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Add: []string{a}}}})
				l.must(work.Item{Members: []work.SetEdit{{ID: "others", Remove: []string{a}}}})
			})
		case n < 67:
			step("message lost", func() { l.lose(policy()) })
		case n < 72:
			step("kill", func() { l.kill(); l.start(); l.snapshot() })
		case n < 75:
			step("kill, no controller", func() { l.kill(); l.start(); awaitSynced(t, l, web); l.snapshot() })
		case n < 87:
			name := names[rnd.IntN(len(names))]
			step(name, together[name])
		default:
			step("harm", func() { harm(kernel(t, backend), false, func() {}) })
		}
	}
	close(stop)
	traffic.Wait()
	drain()
	step("the end", func() { lives(idle) })
	t.Logf("%d steps in %s", len(steps), *chaosFor)
	slices.Sort(steps)
	for i := 0; i < len(steps); {
		n := 1
		for i+n < len(steps) && steps[i+n] == steps[i] {
			n++
		}
		t.Logf("%4d  %s", n, steps[i])
		i += n
	}
	t.Logf("denied packets: %s", &denied)
	t.Logf("echoes in an open flow: %s", &open)
	t.Logf("new connections: %s", &fresh)
	if open.wrong.Load()+fresh.wrong.Load()+denied.wrong.Load() > 0 {
		t.Error("packets passed or were lost that should not")
	}
	if denied.tried.Load() < 100 || open.tried.Load() < 100 {
		t.Error("too little traffic to show anything")
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
