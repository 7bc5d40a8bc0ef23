package agent_test

import (
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// An address goes to a task on another host, under traffic, while the agent of the
// host that had it is slow or dead and the old task still runs. From the moment that
// the way leads to the new host the new task answers, and never the old one; no
// allowed packet is lost and no denied one passes, before and after; what the old task
// sends with the address reaches no task of the new host. When the old host's agent is
// back, that host's tasks meet the new one.
func TestAddressMovesToAnotherHost(t *testing.T) {
	for name, away := range map[string]func(*lab) (back func()){
		"slow": func(l *lab) func() {
			syscall.Kill(l.pid, syscall.SIGSTOP)                   //nolint:errcheck // it is ours
			return func() { syscall.Kill(l.pid, syscall.SIGCONT) } //nolint:errcheck // it is ours
		},
		"dead": func(l *lab) func() { l.kill(); return l.start },
	} {
		t.Run(name, func(t *testing.T) { addressMoves(t, away) })
	}
}

func addressMoves(t *testing.T, away func(*lab) (back func())) {
	const moving = "10.0.0.5"
	nft := func(c *agent.Config) { c.Backend = "nft" }
	one := newLab(t, inProcess, nft)
	far := neighbourHost(t) // the client, and the way between the hosts
	host := netlab.New(t)
	within(t, far, "ip link add up1 type veth peer name up0 netns "+host.Path+`
		ip addr add 198.51.101.2/24 dev up1; ip link set up1 up; echo 1 >/proc/sys/net/ipv4/ip_forward`)
	within(t, host, "ip addr add 198.51.101.1/24 dev up0; ip link set up0 up")
	within(t, far, "ip route add 10.0.2.0/24 via 198.51.101.1")
	two := newBareLabAt(t, host, inProcess, nft, func(c *agent.Config) { c.Host = "h2" })
	two.snapshot()

	way := func(prefix, via string) work.Route {
		return work.Route{Prefix: netip.MustParsePrefix(prefix), Via: netip.MustParseAddr(via), Host: "other"}
	}
	for l, routes := range map[*lab][]work.Route{
		one: {blocks()[0], way("10.0.1.0/24", "198.51.100.2"), way("10.0.2.0/24", "198.51.100.2")},
		two: {{Prefix: netip.MustParsePrefix("10.0.2.0/24"), Host: "h2"}, way("10.0.0.0/24", "198.51.101.2"), way("10.0.1.0/24", "198.51.101.2")},
	} {
		l.must(work.Item{
			Sets:     []work.Set{nets("clients", "10.0.1.7", "10.0.0.1", "10.0.2.1", moving)},
			Programs: []work.Program{posture("svc", tier(allow(17, "clients", 80)), tier(allow(0, "")))},
			Routes:   routes,
		})
	}
	var denied atomic.Int64
	serve := func(tk *task, says string) {
		answers(t, tk.Namespace, ":80", func(string, net.IP) string { return says })
		answers(t, tk.Namespace, ":81", func(string, net.IP) string { denied.Add(1); return says })
	}
	before := one.run("old", moving, "svc")
	neighbour := one.run("neighbour", "10.0.0.1", "svc")
	mate := two.run("mate", "10.0.2.1", "svc")
	serve(before, "old")
	var heard sync.Map
	answers(t, mate.Namespace, ":80", func(said string, _ net.IP) string { heard.Store(said, true); return "mate" })

	// The client asks from a new port each time.
	var moved atomic.Bool
	var asked, lost, wrong, after, tried atomic.Int64
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		far.Loop(stop, func() {
			was := moved.Load()
			asked.Add(1)
			switch got := ask("10.0.1.7", moving+":80", "client", 5*time.Second); {
			case got == "":
				lost.Add(1)
			case was && got != "new":
				wrong.Add(1)
			case was:
				after.Add(1)
			}
		})
	})
	traffic.Go(func() {
		far.Loop(stop, func() { ask("10.0.1.7", moving+":81", "client", time.Millisecond); tried.Add(1) })
	})

	back := away(one)
	now := two.run("new", moving, "svc")
	serve(now, "new")
	within(t, far, "ip route replace "+moving+"/32 via 198.51.101.1")
	moved.Store(true)
	eventually(t, "answers of the new task", func() bool { return after.Load() >= 100 })
	for _, tk := range []*task{before, now} {
		said := "from " + tk.executor
		tk.Do(func() error { ask(moving, "10.0.2.1:80", said, netlab.Wait); return nil })
	}
	if _, ok := heard.Load("from new"); !ok {
		t.Error("the new task's packet did not reach its neighbour")
	}
	if _, ok := heard.Load("from old"); ok {
		t.Error("the old task's packet with the address that another has reached a task of that host")
	}
	asks := func(tk *task) (got string) {
		tk.Do(func() error { got = ask(tk.addr, moving+":80", tk.executor, netlab.Wait); return nil })
		return got
	}
	if got := asks(mate); got != "new" {
		t.Errorf("the new task's neighbour was answered by %q", got)
	}

	back()
	one.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/old"}}})
	if got := asks(neighbour); got != "" {
		t.Errorf("the old task's neighbour was answered by %q though it has ended", got)
	}
	before.gone()
	one.must(work.Item{Routes: []work.Route{way(moving+"/32", "198.51.100.2")}})
	if got := asks(neighbour); got != "new" {
		t.Errorf("the old task's neighbour was answered by %q", got)
	}
	close(stop)
	traffic.Wait()
	t.Logf("%d asked, %d of them after the move; %d tried what is denied", asked.Load(), after.Load(), tried.Load())
	if lost.Load()+wrong.Load()+denied.Load() > 0 || tried.Load() < 100 {
		t.Errorf("%d not answered, %d answered by the old task, %d of %d denied packets passed", lost.Load(), wrong.Load(), denied.Load(), tried.Load())
	}
	now.gone()
}

// within runs a script in a namespace.
func within(t *testing.T, n *netlab.Namespace, script string) {
	t.Helper()
	n.Do(func() error {
		out, err := exec.Command("sh", "-ec", script).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s", script, out)
		}
		return err
	})
}

// ask sends a datagram from the calling thread's namespace and returns the answer, if
// one comes in time.
func ask(from, to, word string, wait time.Duration) string {
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return ""
	}
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	b := make([]byte, 100)
	c.SetDeadline(time.Now().Add(wait)) //nolint:errcheck // it is open
	c.Write([]byte(word))               //nolint:errcheck // no answer comes
	n, err := c.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}
