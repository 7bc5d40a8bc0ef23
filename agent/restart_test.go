package agent_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// kernel is all that the agent programs, comparable; rules come with their
// packet counters when count is set: a rule that is written anew loses them.
func kernel(t *testing.T, backend string) string {
	t.Helper()
	script := `iptables-B-save -t filter; iptables-B-save -t mangle; ip6tables-B-save -t filter; ipset save | sed 's/ initval.*//' | sort
		ip -o link | sed 's/@.*//' | grep tw; ip route show proto 84; ip neigh show nud permanent
		cd /proc/sys/net/ipv4; for f in ip_forward conf/tw*/proxy_arp conf/tw*/forwarding; do [ ! -e $f ] || echo $f: $(cat $f); done`
	out, err := exec.Command("sh", "-c", strings.ReplaceAll(script, "B", backend)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ":") && !strings.HasPrefix(line, ":tw-") {
			continue
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// counters are the rules' packet counters.
func counters(t *testing.T, backend, rule string) string {
	t.Helper()
	out, err := exec.Command("iptables-"+backend+"-save", "-c", "-t", "filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, rule) {
			return strings.Fields(line)[0]
		}
	}
	t.Fatalf("no rule %q", rule)
	return ""
}

// stream sends a packet each millisecond to an echo and counts what is lost.
type stream struct {
	conn       net.Conn
	stop       chan struct{}
	wg         sync.WaitGroup
	sent, back int
}

func startStream(t *testing.T, c net.Conn) *stream {
	s := &stream{conn: c, stop: make(chan struct{})}
	s.wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				if _, err := c.Write([]byte("x")); err == nil {
					s.sent++
				}
			}
		}
	})
	s.wg.Go(func() {
		b := make([]byte, 10)
		for {
			if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			if _, err := c.Read(b); err != nil {
				return // a second after the last
			}
			s.back++
		}
	})
	return s
}

func (s *stream) end() (sent, lost int) {
	close(s.stop)
	s.wg.Wait()
	return s.sent, s.sent - s.back
}

// The agent is killed and started again, without its controller and then with
// it: nothing that was right is written anew, no packet of an allowed flow is
// lost, nothing denied passes, and what is stale and ours is swept.
func TestKilledAndStartedAgain(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{
				Sets: []work.Set{nets("web", "10.0.0.1"), nets("db", "10.0.0.2")},
				Programs: []work.Program{
					posture("web", nil, tier(to(allow(17, "db", 5432)))),
					posture("db", tier(allow(17, "web", 5432)), nil),
				},
				Routes: []work.Route{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}},
			})
			web, db := l.run("web", "10.0.0.1", "web"), l.run("db", "10.0.0.2", "db")
			db.Serve("udp", "10.0.0.2:5432")
			db.Serve("udp", "10.0.0.2:9")
			flow := startStream(t, web.hold("udp", "10.0.0.2:5432"))
			const rule = `-A tw-i-db -p udp -m multiport --dports 5432`
			before, count := kernel(t, backend), counters(t, backend, rule)
			if count == "[0:0]" {
				t.Fatal("the rule met no packet: the counter shows nothing")
			}

			l.kill()
			web.blocked("udp", "10.0.0.2:9") // static without an agent
			l.start()                        // and no controller: no snapshot comes
			web.blocked("udp", "10.0.0.2:9")
			awaitSynced(t, l, db)
			if d := cmp.Diff(before, kernel(t, backend)); d != "" {
				t.Errorf("after a start without a controller:\n%s", d)
			}
			l.snapshot()
			if d := cmp.Diff(before, kernel(t, backend)); d != "" {
				t.Errorf("after the controller's snapshot:\n%s", d)
			}
			if now := counters(t, backend, rule); now != count {
				t.Errorf("a rule that was right was written anew: its counter was %s and is %s", count, now)
			}
			if sent, lost := flow.end(); lost > 0 || sent < 100 {
				t.Errorf("lost %d of %d packets", lost, sent)
			}

			// Stale things of ours go; the picture on disk can be lost too.
			l.kill()
			for _, c := range [][]string{
				{"iptables-" + backend, "-N", "tw-e-stale"}, {"ipset", "create", "tw-s-stale", "hash:net"},
				{"ip", "route", "add", "10.77.0.0/16", "via", "127.0.0.1", "dev", "lo", "proto", "84"},
			} {
				if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", c, err, out)
				}
			}
			if err := os.RemoveAll(l.cfg.StateDir); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.snapshot()
			if d := cmp.Diff(before, kernel(t, backend)); d != "" {
				t.Errorf("after the picture on disk was lost:\n%s", d)
			}
			web.reaches("udp", "10.0.0.2:5432")
			web.del()
			l.await("detached", detached("fw/web"))
		})
	}
}

// An interface whose settings somebody changed while no agent ran, or that an agent of
// before made with others, is whole: its task keeps its network, with the records and
// without, and the settings are mended.
func TestSettingsChangedWhileNoAgentRan(t *testing.T) {
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	web, db := l.run("web", "10.0.0.1", "open"), l.run("db", "10.0.0.2", "open")
	db.Serve("udp", "10.0.0.2:53")
	conn := web.hold("udp", "10.0.0.2:53")
	state := func() (all string) {
		out, err := exec.Command("sh", "-c", "ip -o link | grep -c 'tw.*NOARP'").Output()
		if err != nil {
			out = []byte(err.Error())
		}
		return kernel(t, "nft") + settings(t, web.veth()) + settings(t, db.veth()) + string(out)
	}
	before := state()
	for _, records := range []bool{true, false} {
		l.kill()
		for _, veth := range []string{web.veth(), db.veth()} {
			script := strings.ReplaceAll(`ip link set arp on dev V; cd /proc/sys/net/ipv4/conf/V; echo 1 >proxy_arp; echo 0 >rp_filter; echo 1 >accept_source_route
				echo 0 >/proc/sys/net/ipv6/conf/V/disable_ipv6`, "V", veth)
			if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		if !records {
			if err := os.RemoveAll(l.cfg.StateDir); err != nil {
				t.Fatal(err)
			}
		}
		l.start()
		l.snapshot()
		if err := netlab.Echo(conn, netlab.Wait); err != nil {
			t.Errorf("with the records %v: the open flow broke: %v", records, err)
		}
		web.reaches("udp", "10.0.0.2:53")
		if d := cmp.Diff(before, state()); d != "" {
			t.Errorf("with the records %v: not mended:\n%s", records, d)
		}
	}
}

// awaitSynced waits until a started agent answers plugins as ready.
func awaitSynced(t *testing.T, l *lab, tk *task) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	for {
		out, exit := tk.plugin("STATUS", tk.config("1.1.0", "taskwall"))
		if exit == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("the agent is not ready: %s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The agent is killed in the middle of an attach: the plugin asks the next one
// and the task gets its network.
func TestKilledDuringAttach(t *testing.T) {
	l := newLab(t, inProcess)
	tk := l.container("late") // not announced yet: the attach waits
	got := make(chan string, 1)
	go func() {
		out, _ := tk.add()
		got <- out
	}()
	l.kill()
	l.start()
	l.snapshot()
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("late", "10.0.0.1", "")}})
	select {
	case out := <-got:
		if !strings.Contains(out, `"10.0.0.1/32"`) {
			t.Errorf("ADD: %s", out)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("ADD did not return")
	}
	tk.Serve("tcp", "10.0.0.1:80")
	if err := netlab.ReachHere("tcp", "10.0.0.1:80"); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(l.cfg.StateDir, "attachments", "*"))
	if err != nil || len(files) != 1 || !slices.ContainsFunc(veths(t), func(v string) bool { return strings.Contains(files[0], v) }) {
		t.Errorf("attachments on disk: %v, %v", files, err)
	}
}

// What Mesos never called DEL for goes when its container is gone.
func TestSweep(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.SweepEvery = 20 * time.Millisecond; c.Backend = "nft" })
	tk := l.run("a", "10.0.0.1", "")
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/a"}}})
	l.mesos.remove(tk.container)
	l.await("detached", detached("fw/a"))
	nothingLeft(t, l, "nft")
}

// A principal that may not view containers is told of none (CLUSTER-API 3.1):
// no reason to take the network of tasks that run, also when the agent's records
// are lost.
func TestTheSweepKeepsWhatLivesThoughMesosDoesNotListIt(t *testing.T) {
	for name, records := range map[string]bool{"with records": true, "without records": false} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.SweepEvery = 20 * time.Millisecond; c.Backend = "nft" })
			tk := l.run("a", "10.0.0.1", "")
			inside := exec.Command("nsenter", "--net="+tk.Path, "sleep", "1000")
			if err := inside.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { inside.Process.Kill() })
			for !attach.Inhabited(tk.Path) {
				time.Sleep(time.Millisecond)
			}
			if !records {
				l.stop()
				if err := os.RemoveAll(l.cfg.StateDir); err != nil {
					t.Fatal(err)
				}
			}
			l.mesos.remove(tk.container)
			if !records {
				l.start()
				l.snapshot()
			}
			for range 6 {
				<-l.mesos.asked
			}
			if vs := veths(t); len(vs) != 1 {
				t.Errorf("interfaces: %v", vs)
			}
			inside.Process.Kill()
			inside.Wait()
			l.await("detached", detached("fw/a"))
		})
	}
}
