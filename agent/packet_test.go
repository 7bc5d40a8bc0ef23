package agent_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
	"github.com/vishvananda/netlink"
)

// neighbourHost joins another machine (198.51.100.2, with 10.0.1.0/24 behind
// it) to the host under test (198.51.100.1).
func neighbourHost(t *testing.T) *netlab.Namespace {
	t.Helper()
	n := netlab.New(t)
	netlab.Join(t, "up0", "198.51.100.1/24", n, "up0", "198.51.100.2/24")
	n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("10.0.1.7/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return err
		}
		_, dst, err := net.ParseCIDR("10.0.0.0/24")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP("198.51.100.1")})
	})
	return n
}

func blocks() []work.Route {
	return []work.Route{
		{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Host: "h1"},
		{Prefix: netip.MustParsePrefix("10.0.1.0/24"), Via: netip.MustParseAddr("198.51.100.2"), Host: "h2"},
	}
}

// Between hosts: egress is enforced here for our clients, ingress here for our
// servers; routes lead to the other host's block, and to nowhere from an
// address of the own block that no task has.
func TestBetweenHosts(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			far := neighbourHost(t)
			l.must(work.Item{
				Sets: []work.Set{nets("far", "10.0.1.7"), {ID: "ports", Type: work.Ports, Members: []string{"10.0.1.7,tcp:6000"}}},
				Programs: []work.Program{posture("a",
					tier(allow(6, "far", 80)),
					tier(to(allow(6, "far", 5432)), work.Rule{Action: work.Allow, Policy: "NetworkPolicy production/test", Index: 1, Dest: work.Match{PortSets: []string{"ports"}}}),
				)},
				Routes: blocks(),
			})
			a := l.run("a", "10.0.0.1", "a")
			for _, port := range []string{"5432", "5433", "6000"} {
				far.Serve("tcp", "10.0.1.7:"+port)
			}
			a.Serve("tcp", "10.0.0.1:80")
			a.Serve("tcp", "10.0.0.1:81")

			a.reaches("tcp", "10.0.1.7:5432")
			a.reaches("tcp", "10.0.1.7:6000") // by a set of addresses and ports
			a.blocked("tcp", "10.0.1.7:5433")
			for from, want := range map[string]bool{"10.0.1.7": true, "198.51.100.2": false} {
				c, err := far.DialFrom("tcp", from, "10.0.0.1:80")
				if (err == nil) != want {
					t.Errorf("from %s: %v", from, err)
				}
				if err == nil {
					c.Close()
				}
			}
			if c, err := far.DialFrom("tcp", "10.0.1.7", "10.0.0.1:81"); err == nil {
				c.Close()
				t.Error("a port that no policy opens was reached")
			}
			// An address of the own block that no task has: told at once.
			if err := netlab.ReachHere("tcp", "10.0.0.99:80"); err == nil || !strings.Contains(err.Error(), "no route to host") {
				t.Errorf("an unused address: %v", err)
			}
			l.must(work.Item{Delete: &work.Deletions{Routes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}}})
			a.blocked("tcp", "10.0.1.7:5432")
		})
	}
}

// A task cannot speak with an address that is not its own, not even one of a
// neighbour to whom the same is allowed, and cannot take over a neighbour's
// address by ARP.
func TestSpoofing(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
			victim, thief, server := l.run("victim", "10.0.0.1", "open"), l.run("thief", "10.0.0.2", "open"), l.run("server", "10.0.0.3", "open")
			seen := make(chan string, 100)
			answers(t, server.Namespace, "10.0.0.3:9", func(said string, from net.IP) string {
				seen <- said + " " + from.String()
				return ""
			})
			thief.Do(func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				for _, a := range []string{"10.0.0.1/32", "8.8.8.8/32"} {
					addr, err := netlink.ParseAddr(a)
					if err != nil {
						return err
					}
					if err := netlink.AddrAdd(eth0, addr); err != nil {
						return err
					}
				}
				return nil
			})
			// rp_filter would stop it as well: the firewall must do without.
			for _, veth := range veths(t) {
				if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+veth+"/rp_filter", []byte("0"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			say := func(tk *task, from, word string) {
				t.Helper()
				tk.Do(func() error {
					c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP("10.0.0.3"), Port: 9})
					if err != nil {
						return err
					}
					defer c.Close()
					_, err = c.Write([]byte(word))
					return err
				})
			}
			say(thief, "10.0.0.1", "spoofed")
			say(thief, "8.8.8.8", "spoofed")
			say(victim, "10.0.0.1", "honest")
			say(thief, "10.0.0.2", "honest")
			for i, want := range []string{"honest 10.0.0.1", "honest 10.0.0.2"} {
				select {
				case got := <-seen:
					if got != want {
						t.Fatalf("packet %d is %q, want %q", i, got, want)
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("no packet %d", i)
				}
			}
			// An interface of ours that nobody vouched for carries nothing, in
			// either direction.
			rogue := netlab.New(t)
			netlab.Join(t, "twaaaaaaaaaaa", "10.0.9.1/24", rogue, "eth0", "10.0.9.2/24")
			rogue.Do(func() error {
				_, all, err := net.ParseCIDR("0.0.0.0/0")
				if err != nil {
					return err
				}
				return netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP("10.0.9.1")})
			})
			rogue.Serve("tcp", "10.0.9.2:80")
			server.Serve("tcp", "10.0.0.3:80")
			if rogue.Reach("tcp", "10.0.0.3:80") == nil || netlab.ReachHere("tcp", "10.0.9.2:80") == nil || victim.Reach("tcp", "10.0.9.2:80") == nil {
				t.Error("an interface that nobody vouched for carried packets")
			}
			if err := netlab.ReachHere("udp", "10.0.9.2:53"); !errors.Is(err, syscall.EPERM) {
				t.Errorf("the host sent to an interface that nobody vouched for: %v", err)
			}
			victim.reaches("tcp", "10.0.0.3:80")
		})
	}
}

func veths(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "tw") {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

// The host and its tasks: the Mesos agent's port is open to every task, also
// one that no policy selects; other services of the host are closed unless a
// policy allows them; the host reaches its tasks; nothing that others reach on
// the host changes.
func TestTheHostItself(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend, c.Failsafe = backend, []uint16{5051} })
			far := neighbourHost(t)
			l.must(work.Item{
				Sets:     []work.Set{nets("host", netlab.Host)},
				Programs: []work.Program{posture("mon", nil, tier(to(allow(6, "host", 9100))))},
			})
			closed, mon := l.run("closed", "10.0.0.1", ""), l.run("mon", "10.0.0.2", "mon")
			for _, port := range []string{"5051", "22", "9100"} {
				netlab.ServeHere(t, "tcp", netlab.Host+":"+port)
				netlab.ServeHere(t, "tcp", "198.51.100.1:"+port)
			}
			closed.Serve("tcp", "10.0.0.1:80")
			for _, tk := range []*task{closed, mon} {
				tk.reaches("tcp", netlab.Host+":5051")
				tk.reaches("tcp", "198.51.100.1:5051")
				tk.blocked("tcp", netlab.Host+":22")
				tk.blocked("tcp", "169.254.1.1:22")
				tk.Do(func() error { // from a port that is open as one of the host's
					d := net.Dialer{Timeout: netlab.Wait, LocalAddr: &net.TCPAddr{Port: 5051}}
					if c, err := d.Dial("tcp4", netlab.Host+":22"); err == nil {
						c.Close()
						t.Errorf("%s reaches the host from port 5051", tk.executor)
					}
					return nil
				})
			}
			closed.blocked("tcp", netlab.Host+":9100")
			mon.reaches("tcp", netlab.Host+":9100")
			if err := netlab.ReachHere("tcp", "10.0.0.1:80"); err != nil {
				t.Errorf("the host cannot reach its task: %v", err)
			}
			for _, port := range []string{"5051", "22", "9100"} {
				if err := far.Reach("tcp", "198.51.100.1:"+port); err != nil {
					t.Errorf("another machine cannot reach the host's port %s: %v", port, err)
				}
			}
		})
	}
}

// IPv6 is closed on tasks, whatever the task sets up itself.
func TestNoIPv6(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
			a := l.run("a", "10.0.0.1", "open")
			b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + veths(t)[0] + "/disable_ipv6")
			if err != nil || strings.TrimSpace(string(b)) != "1" {
				t.Errorf("IPv6 on the host's side: %s, %v", b, err)
			}
			// Both sides turned on by force: the rules still close it.
			v6 := func(name, addr string) error {
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("0"), 0o644); err != nil {
					return err
				}
				out, err := exec.Command("ip", "-6", "addr", "add", addr, "dev", name, "nodad").CombinedOutput()
				if err != nil {
					t.Errorf("%s", out)
				}
				return err
			}
			if err := v6(veths(t)[0], "fd00::1/64"); err != nil {
				t.Fatal(err)
			}
			a.Do(func() error { return v6("eth0", "fd00::2/64") })
			host, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("fd00::1"), Port: 53})
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			heard := hearsHere(t, 53)
			w := openWire(t, a.Namespace, "eth0", a.veth())
			within(t, a.Namespace, "ip -6 neigh add fd00::1 lladdr "+w.peer.String()+" dev eth0 nud permanent")
			a.Do(func() error {
				c, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.ParseIP("fd00::1"), Port: 53})
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("closed"))
				return err
			})
			a.send(netlab.Host, 53, end) // what was sent before came before it, or never
			eventually(t, "the end at the host", func() bool { return len(heard()) > 0 })
			host.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // it is open
			if n, _, err := host.ReadFrom(make([]byte, 100)); err == nil {
				t.Errorf("IPv6 from the task passed: %d bytes", n)
			}
			if _, err := host.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP("fd00::2"), Port: 53}); !errors.Is(err, syscall.EPERM) {
				t.Errorf("the host sent IPv6 to a task: %v", err)
			}
			a.Do(func() error {
				c, err := net.DialTimeout("tcp6", "[fd00::1]:22", netlab.Wait)
				if err == nil {
					c.Close()
				}
				if err == nil || strings.Contains(err.Error(), "refused") {
					t.Errorf("IPv6 from the task passed: %v", err)
				}
				return nil
			})
		})
	}
}
