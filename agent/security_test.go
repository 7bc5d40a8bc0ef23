package agent_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// veth is the host's side of a task's interface.
func (tk *task) veth() string { return attach.Name("fw/"+tk.executor, "taskwall") }

// end is a packet that is allowed: all that was sent before it came before it,
// or never.
const end = "the end"

func isEnd(p []byte) bool { return bytes.HasSuffix(p, []byte(end)) }

// noReversePath turns the kernel's own check of source addresses off: the
// firewall must do without.
func noReversePath(t *testing.T, ifaces ...string) {
	t.Helper()
	for _, i := range append(ifaces, "all") {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+i+"/rp_filter", []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Another machine cannot speak with the address of a task of this host: not to
// open a connection, and not into one that is open.
func TestUplinkSpoofing(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			far := neighbourHost(t)
			l.must(work.Item{
				Sets:     []work.Set{nets("peers", "10.0.0.1", "10.0.1.7")},
				Programs: []work.Program{posture("db", tier(allow(17, "peers", 53)), nil), posture("out", nil, tier(allow(0, "")))},
				Routes:   blocks(),
			})
			web, db := l.run("web", "10.0.0.1", "out"), l.run("db", "10.0.0.2", "db")
			db.Serve("udp", "10.0.0.2:53")
			c, err := web.DialFrom("udp", "10.0.0.1", "10.0.0.2:53")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := netlab.Echo(c, netlab.Wait); err != nil { // an open flow
				t.Fatal(err)
			}
			noReversePath(t, "up0")
			inside, uplink := openWire(t, db.Namespace, "eth0", db.veth()), openWire(t, far, "up0", "up0")
			uplink.ip(ipv4(17, "10.0.0.1", "10.0.0.2", 1, 0, udp(4000, 53, "forged")))
			uplink.ip(ipv4(17, "10.0.0.1", "10.0.0.2", 2, 0, udp(uint16(c.LocalAddr().(*net.UDPAddr).Port), 53, "forged")))
			uplink.ip(ipv4(17, "10.0.1.7", "10.0.0.2", 3, 0, udp(4000, 53, end)))
			for _, p := range inside.until(isEnd) {
				if bytes.HasSuffix(p, []byte("forged")) {
					t.Errorf("a forged packet reached the task: % x", p)
				}
			}
			if err := netlab.Echo(c, netlab.Wait); err != nil {
				t.Errorf("the honest flow broke: %v", err)
			}
		})
	}
}

// A task that claims a neighbour's address, or the gateway's, by ARP attracts
// nothing: neither the host's packets nor its neighbours'.
func TestForgedARP(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	victim, thief, client := l.run("victim", "10.0.0.1", "open"), l.run("thief", "10.0.0.2", "open"), l.run("client", "10.0.0.3", "open")
	victim.Serve("udp", "10.0.0.1:53")
	w := openWire(t, thief.Namespace, "eth0", thief.veth())
	everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, who := range []string{"10.0.0.1", "169.254.1.1", netlab.Host} {
		for op := uint16(1); op <= 2; op++ {
			for _, to := range []net.HardwareAddr{everyone, w.peer} {
				w.send(ethernet(to, w.mac, etherARP, arp(op, w.mac, who, who)))
				w.send(ethernet(to, w.mac, etherARP, arp(op, w.mac, who, "10.0.0.3")))
			}
		}
	}
	client.reaches("udp", "10.0.0.1:53")
	if err := netlab.ReachHere("udp", "10.0.0.1:53"); err != nil {
		t.Errorf("the host no longer reaches the victim: %v", err)
	}
	neighbours, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(neighbours)) {
		if f := strings.Fields(line); f[0] == "10.0.0.1" && f[len(f)-1] != victim.veth() {
			t.Errorf("the host believed the thief: %s", line)
		}
	}
	client.send("10.0.0.2", 9, end) // what came to the thief until now
	for _, p := range w.until(isEnd) {
		if bytes.Equal(p[16:20], addr4("10.0.0.1")) {
			t.Errorf("the thief got the victim's packet % x", p)
		}
	}
}

// A task that listens to all that its wire carries, or takes the hardware address of a
// neighbour or of the host, hears nothing of its neighbours and may send no more than before.
func TestTaskListensInOthersNames(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(17, "", 53)), tier(allow(17, "", 53)))}})
	victim, thief, client := l.run("victim", "10.0.0.1", "open"), l.run("thief", "10.0.0.2", "open"), l.run("client", "10.0.0.3", "open")
	victim.Serve("udp", "10.0.0.1:53")
	victim.Serve("udp", "10.0.0.1:54")
	inside := openWire(t, victim.Namespace, "eth0", victim.veth())
	w := openWire(t, thief.Namespace, "eth0", thief.veth())
	within(t, thief.Namespace, "ip link set eth0 promisc on")
	for _, mac := range []net.HardwareAddr{w.mac, inside.mac, w.peer} {
		within(t, thief.Namespace, "ip link set eth0 address "+mac.String())
		eventually(t, "the victim's answer", func() bool { return client.Reach("udp", "10.0.0.1:53") == nil })
		send := func(port uint16, word string) {
			w.send(ethernet(w.peer, mac, etherIPv4, ipv4(17, "10.0.0.2", "10.0.0.1", port, 0, udp(4000, port, word))))
		}
		send(54, "forged")
		send(53, end)
		for _, p := range inside.until(isEnd) {
			if bytes.HasSuffix(p, []byte("forged")) {
				t.Errorf("as %s the thief sent what it must not", mac)
			}
		}
		client.send("10.0.0.2", 53, end) // what came to the thief until now
		for _, p := range w.until(func(p []byte) bool { return isEnd(p) && bytes.Equal(p[12:16], addr4("10.0.0.3")) }) {
			if !bytes.Equal(p[12:16], addr4("10.0.0.2")) && !bytes.Equal(p[16:20], addr4("10.0.0.2")) {
				t.Errorf("as %s the thief heard % x", mac, p)
			}
		}
	}
}

// Though somebody emptied the chain that drops forged addresses before the kernel looks
// for a way, none of them reaches the host, not even at a port that is open to all tasks.
// Nor does what belongs to no connection.
func TestForgedSourceToTheHost(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend, c.Failsafe = backend, []uint16{5051} })
			bad, victim := l.run("bad", "10.0.0.1", ""), l.run("victim", "10.0.0.2", "")
			netlab.ServeHere(t, "tcp", netlab.Host+":5051")
			l.stop() // who would mend it
			noReversePath(t, bad.veth(), victim.veth())
			if out, err := exec.Command("iptables-"+backend, "-t", "mangle", "-F", "tw-source").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			w, answers := openWire(t, bad.Namespace, "eth0", bad.veth()), openWire(t, victim.Namespace, "eth0", victim.veth())
			const syn, synAck = 0x02, 0x12
			w.ip(ipv4(6, "10.0.0.2", netlab.Host, 1, 0, tcp("10.0.0.2", netlab.Host, 4000, 5051, syn)))
			answers.ip(ipv4(6, "10.0.0.2", netlab.Host, 2, 0, tcp("10.0.0.2", netlab.Host, 4002, 5051, synAck)))
			answers.ip(ipv4(6, "10.0.0.2", netlab.Host, 3, 0, tcp("10.0.0.2", netlab.Host, 4001, 5051, syn)))
			to := func(p []byte) uint16 { return binary.BigEndian.Uint16(p[22:]) }
			for _, p := range answers.until(func(p []byte) bool { return p[9] == 6 && p[33] == synAck && to(p) == 4001 }) {
				if p[9] == 6 && to(p) != 4001 {
					t.Errorf("the host answered to %d: % x", to(p), p)
				}
			}
		})
	}
}

// A plugin that is called for the host's own namespace gets words, and the host no
// task's address.
func TestTheHostIsNoTask(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}})
	tk := l.container("a")
	own := tk.Path
	tk.Path = fmt.Sprintf("/proc/%d/ns/net", os.Getpid())
	const words = "the host's own network namespace"
	if out, exit := tk.add(); exit == 0 || !strings.Contains(out, words) {
		t.Errorf("ADD: %d %s", exit, out)
	}
	if names := veths(t); len(names) > 0 {
		t.Errorf("interfaces were made: %v", names)
	}
	if out, err := exec.Command("ip", "-o", "addr").CombinedOutput(); err != nil || bytes.Contains(out, []byte("10.0.0.1")) {
		t.Errorf("the host has %s, %v", out, err)
	}
	l.await("a failure", func(r work.Report) bool {
		return r.Wiring != nil && r.Wiring.State == events.Failed && strings.Contains(r.Wiring.Error, words)
	})
	tk.Path, own = own, tk.Path
	tk.mustAdd()
	tk.Path = own
	if out, exit := tk.plugin("CHECK", tk.config("0.4.0", "taskwall")); exit == 0 || !strings.Contains(out, words) {
		t.Errorf("CHECK: %d %s", exit, out)
	}
	tk.gone() // with the wrong path, too
	if names := veths(t); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// send sends one datagram.
func (tk *task) send(to string, port int, data string) {
	tk.l.t.Helper()
	tk.Do(func() error {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(to), Port: port})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(data))
		return err
	})
}

// Fragments meet the policy of the packet that they are parts of; a later part
// whose first never came goes nowhere. A packet that belongs to no connection
// and opens none is dropped though its port is open.
func TestOddPackets(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{
				Sets: []work.Set{nets("client", "10.0.0.1")},
				Programs: []work.Program{
					posture("db", tier(allow(17, "client", 53), allow(6, "client", 80)), nil),
					posture("out", nil, tier(allow(0, ""))),
				},
			})
			client, db := l.run("client", "10.0.0.1", "out"), l.run("db", "10.0.0.2", "db")
			from, to := openWire(t, client.Namespace, "eth0", client.veth()), openWire(t, db.Namespace, "eth0", db.veth())

			big := udp(4000, 53, strings.Repeat("x", 1592))
			closed := udp(4000, 54, strings.Repeat("y", 1592))
			const more = 0x2000
			for i, whole := range [][]byte{big, closed} {
				id := uint16(10 + i)
				from.ip(ipv4(17, "10.0.0.1", "10.0.0.2", id, more, whole[:800]))
				from.ip(ipv4(17, "10.0.0.1", "10.0.0.2", id, 800/8, whole[800:]))
			}
			from.ip(ipv4(17, "10.0.0.1", "10.0.0.2", 20, 800/8, bytes.Repeat([]byte("z"), 100))) // without a first part
			const synAck, rst, syn = 0x12, 0x04, 0x02
			from.ip(ipv4(6, "10.0.0.1", "10.0.0.2", 30, 0, tcp("10.0.0.1", "10.0.0.2", 4001, 80, synAck)))
			from.ip(ipv4(6, "10.0.0.1", "10.0.0.2", 31, 0, tcp("10.0.0.1", "10.0.0.2", 4002, 80, rst)))
			from.ip(ipv4(6, "10.0.0.1", "10.0.0.2", 32, 0, tcp("10.0.0.1", "10.0.0.2", 4003, 80, 0xff)))
			from.ip(ipv4(6, "10.0.0.1", "10.0.0.2", 33, 0, tcp("10.0.0.1", "10.0.0.2", 4004, 80, syn)))
			from.ip(ipv4(17, "10.0.0.1", "10.0.0.2", 40, 0, udp(4000, 53, end)))

			parts, opened := 0, false
			for _, p := range to.until(isEnd) {
				switch {
				case bytes.HasSuffix(p, []byte("x")):
					parts++
				case p[9] == 6 && p[20+13] == syn:
					opened = true
				case !isEnd(p):
					t.Errorf("this reached the task: % x", p[:min(len(p), 60)])
				}
			}
			if parts == 0 || !opened {
				t.Errorf("what is allowed did not come: %d parts of a large packet, opened %v", parts, opened)
			}
		})
	}
}

// A connection that a helper expects, because a task said so inside another one,
// is one that no policy allowed. An error about an allowed one comes through.
func TestExpectedConnections(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			far := neighbourHost(t)
			l.must(work.Item{Programs: []work.Program{
				posture("web", nil, tier(allow(6, "", 21), allow(17, "", 53))),
				posture("ftp", tier(allow(6, "", 21), allow(17, "", 53)), nil),
			}, Routes: blocks()})
			web, ftp := l.run("web", "10.0.0.1", "web"), l.run("ftp", "10.0.0.2", "ftp")
			far.Serve("tcp", "10.0.1.7:21")
			ftp.Serve("tcp", "10.0.0.2:21")
			web.Serve("tcp", "10.0.0.1:9000")
			helper := []string{"-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp"}
			if out, err := exec.Command("iptables-"+backend, helper...).CombinedOutput(); err != nil {
				t.Skipf("the kernel has no FTP helper: %s", out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("iptables-"+backend, "-t", "raw", "-F").CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
			for _, server := range []string{"10.0.0.2", "10.0.1.7"} {
				c, err := web.Dial("tcp", server+":21")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				for _, say := range []string{"NOOP\r\n", "PORT 10,0,0,1,35,40\r\n"} { // the helper waits for the second line
					if _, err := c.Write([]byte(say)); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(c, make([]byte, len(say))); err != nil {
						t.Fatal(err)
					}
				}
				out, err := exec.Command("conntrack", "-L", "expect").CombinedOutput()
				if want := "src=" + server + " dst=10.0.0.1"; err != nil || !bytes.Contains(out, []byte(want)) || !bytes.Contains(out, []byte("dport=9000")) {
					t.Fatalf("nothing is expected of %s, and the test shows nothing: %v: %s", server, err, out)
				}
			}
			ftp.blocked("tcp", "10.0.0.1:9000")
			if c, err := far.DialFrom("tcp", "10.0.1.7", "10.0.0.1:9000"); err == nil {
				c.Close()
				t.Error("another host opened a connection that only a task's word allows")
			}
			if err := web.Reach("udp", "10.0.0.2:53"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the word that nobody listens did not come: %v", err)
			}
		})
	}
}
