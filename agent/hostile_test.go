package agent_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// permissive turns the kernel's own checks off, as other software on the host may:
// the firewall must do without.
func permissive(t *testing.T, ifaces ...string) {
	t.Helper()
	for _, i := range append(ifaces, "all") {
		for name, value := range map[string]string{"rp_filter": "0", "accept_source_route": "1", "route_localnet": "1", "accept_redirects": "1", "accept_local": "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+i+"/"+name, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// options puts IP options, a multiple of 4 bytes, into a packet of ipv4.
func options(p, opts []byte) []byte {
	b := append(append(append([]byte{}, p[:20]...), opts...), p[20:]...)
	b[0] += byte(len(opts) / 4)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20+len(opts)]))
	return b
}

// ipv6 is a packet.
func ipv6(next byte, src, dst string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(payload)))
	b = append(b, next, 255)
	b = append(append(b, net.ParseIP(src)...), net.ParseIP(dst)...)
	return append(b, payload...)
}

// hearsHere has the host listen for datagrams at all its addresses, and returns what
// came so far.
func hearsHere(t *testing.T, port int) func() []string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() (heard []string) {
		b := make([]byte, 2048)
		for {
			c.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // it is open
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return heard
			}
			heard = append(heard, from.String()+" "+string(b[:n]))
		}
	}
}

// A task that is root in its namespace can write any frame. Nothing of what it is
// not allowed reaches a neighbour, another host or the host itself, by whatever
// address, encapsulation, option or broadcast, though the kernel's own checks are off.
func TestHostileFrames(t *testing.T) {
	const evil, db, remote = "10.0.0.1", "10.0.0.2", "10.0.1.7"
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			far := neighbourHost(t)
			l.must(work.Item{
				Sets: []work.Set{nets("peers", db, remote, netlab.Host), nets("evil", evil)},
				Programs: []work.Program{
					posture("evil", nil, tier(to(allow(17, "peers", 53)))),
					posture("db", tier(allow(17, "evil", 53)), nil),
				},
				Routes: blocks(),
			})
			bad, good := l.run("bad", evil, "evil"), l.run("db", db, "db")
			permissive(t, bad.veth(), good.veth(), "up0")
			if out, err := exec.Command("ip", "addr", "add", "169.254.169.254/32", "dev", "lo").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Cleanup(func() { exec.Command("ip", "addr", "del", "169.254.169.254/32", "dev", "lo").Run() }) //nolint:errcheck // the namespace may go first
			w := openWire(t, bad.Namespace, "eth0", bad.veth())
			neighbour, uplink := openWire(t, good.Namespace, "eth0", good.veth()), openWire(t, far, "up0", "up0")
			host, allowed := hearsHere(t, 54), hearsHere(t, 53)

			id := uint16(0)
			forged := func(src, dst string, port uint16) []byte {
				id++
				return ipv4(17, src, dst, id, 0, udp(4000+id, port, "forged"))
			}
			inner := forged(evil, db, 53)
			const etherVLAN, etherIPv6 = 0x8100, 0x86dd
			everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
			group := net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
			var frames [][]byte
			for _, p := range [][]byte{ // to the host's side
				forged(evil, "127.0.0.1", 54), forged(evil, netlab.Host, 54), forged(evil, "198.51.100.1", 54), // the host by its addresses
				forged(evil, "169.254.169.254", 54), forged(evil, "169.254.1.1", 54), forged(evil, "169.254.169.254", 53),
				forged("127.0.0.1", netlab.Host, 53), forged("127.0.0.1", db, 53), forged("127.0.0.1", "127.0.0.1", 53), // with others' addresses
				forged(netlab.Host, db, 53), forged(netlab.Host, netlab.Host, 53), forged("169.254.1.1", db, 53), forged("169.254.1.1", remote, 53),
				forged(remote, db, 53), forged(db, remote, 53), forged(db, db, 53), forged("0.0.0.0", db, 53),
				forged(evil, db, 54), forged(evil, remote, 54), forged(evil, evil, 53),
				ipv4(4, evil, db, 900, 0, inner), ipv4(4, evil, netlab.Host, 901, 0, inner), // inside of others
				ipv4(47, evil, remote, 902, 0, append([]byte{0, 0, 8, 0}, inner...)), ipv4(41, evil, db, 903, 0, ipv6(17, "fd00::1", "fd00::2", udp(1, 53, "forged"))),
				ipv4(2, evil, "224.0.0.1", 904, 0, []byte("\x16\x00\xe9\xffforged")),
				options(forged(evil, netlab.Host, 54), []byte{0x83, 7, 4, 10, 0, 0, 2, 0}), // by way of the host to the neighbour
				options(forged(evil, "198.51.100.1", 54), []byte{0x89, 7, 4, 10, 0, 1, 7, 0}),
			} {
				frames = append(frames, ethernet(w.peer, w.mac, etherIPv4, p), ethernet(everyone, w.mac, etherIPv4, p),
					ethernet(w.peer, neighbour.mac, etherIPv4, p), // from another hardware address
					ethernet(w.peer, w.mac, etherVLAN, append([]byte{0, 0, 8, 0}, p...)), ethernet(w.peer, w.mac, etherVLAN, append([]byte{0, 7, 8, 0}, p...)))
			}
			for _, src := range []string{evil, "0.0.0.0", db} { // to everyone, as DHCP does
				for dst, to := range map[string]net.HardwareAddr{"255.255.255.255": everyone, "224.0.0.1": group, "10.0.0.255": everyone} {
					frames = append(frames, ethernet(to, w.mac, etherIPv4, forged(src, dst, 54)), ethernet(w.peer, w.mac, etherIPv4, forged(src, dst, 67)))
				}
			}
			for _, dst := range []string{"ff02::1", "fe80::1", "fd00::2"} {
				for _, to := range []net.HardwareAddr{w.peer, {0x33, 0x33, 0, 0, 0, 1}} {
					frames = append(frames, ethernet(to, w.mac, etherIPv6, ipv6(17, "fe80::2", dst, udp(1, 53, "forged"))),
						ethernet(to, w.mac, etherIPv6, ipv6(58, "fe80::2", dst, []byte("\x86\x00forged router")))) // an advertisement
				}
			}
			for _, veth := range []string{bad.veth(), good.veth()} { // somebody turned it on
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+veth+"/disable_ipv6", []byte("0"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range frames {
				w.send(f)
			}
			for i, dst := range []string{netlab.Host, db, remote} {
				w.ip(ipv4(17, evil, dst, uint16(1000+i), 0, udp(4000, 53, end)))
			}
			isLast := func(f []byte) bool { return isIPv4(f) && isEnd(f) }
			for where, seen := range map[string][][]byte{"the neighbour": neighbour.frames(isLast), "the other host": uplink.frames(isLast)} {
				for _, f := range seen {
					if bytes.Contains(f, []byte("forged")) {
						t.Errorf("this reached %s: % x", where, f[:min(len(f), 80)])
					}
				}
			}
			var heard []string
			eventually(t, "the end at the host", func() bool {
				heard = append(heard, allowed()...)
				return strings.Contains(strings.Join(heard, "\n"), end)
			})
			for _, h := range append(heard, host()...) {
				if strings.Contains(h, "forged") {
					t.Errorf("the host heard %q", h)
				}
			}
		})
	}
}

// An error about a connection comes from its ends or from routers. A task that
// forges one about its neighbours' connection, whose ports it may have guessed, can
// make neither of them send smaller packets, go another way or give up; routers can.
func TestForgedErrors(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			far := neighbourHost(t)
			l.must(work.Item{
				Programs: []work.Program{
					posture("web", nil, tier(allow(17, "", 53))), posture("db", tier(allow(17, "", 53)), nil), posture("bad", nil, tier(allow(17, "", 53))),
				},
				Routes: blocks(),
			})
			web, db, bad := l.run("web", "10.0.0.1", "web"), l.run("db", "10.0.0.2", "db"), l.run("bad", "10.0.0.3", "bad")
			db.Serve("udp", "10.0.0.2:53")
			far.Serve("udp", "10.0.1.7:53")
			// The neighbours' flow, one of theirs to another host, and one of the host's.
			var quotes [][]byte
			for _, to := range []string{"10.0.0.2:53", "10.0.1.7:53"} {
				c, err := web.DialFrom("udp", "10.0.0.1", to)
				if err == nil {
					defer c.Close()
					err = netlab.Echo(c, netlab.Wait)
				}
				if err != nil {
					t.Fatal(err)
				}
				host, _, _ := net.SplitHostPort(to)
				quotes = append(quotes, ipv4(17, "10.0.0.1", host, 1, 0, udp(uint16(c.LocalAddr().(*net.UDPAddr).Port), 53, "forged")))
			}
			permissive(t, bad.veth(), web.veth(), db.veth(), "up0")
			w, victim, uplink := openWire(t, bad.Namespace, "eth0", bad.veth()), openWire(t, web.Namespace, "eth0", web.veth()), openWire(t, far, "up0", "up0")
			for _, q := range quotes {
				for _, kind := range [][2]byte{{3, 4}, {3, 0}, {3, 1}, {3, 13}, {4, 0}, {5, 1}, {11, 0}, {11, 1}, {12, 0}} {
					for _, src := range []string{"10.0.0.3", "169.254.1.1", "10.0.0.2", netlab.Host} {
						w.ip(ipv4(1, src, "10.0.0.1", 2, 0, icmpError(kind[0], kind[1], q)))
					}
				}
			}
			router := quotes[1]
			uplink.ip(ipv4(1, "198.51.100.2", "10.0.0.1", 3, 0, icmpError(3, 4, router)))
			seen := victim.until(func(p []byte) bool { return p[9] == 1 && bytes.Equal(p[12:16], addr4("198.51.100.2")) })
			for _, p := range seen[:len(seen)-1] {
				if bytes.Contains(p, []byte("forged")) {
					t.Errorf("this reached the victim: % x", p[:min(len(p), 60)])
				}
			}
			web.reaches("udp", "10.0.0.2:53")
			web.reaches("udp", "10.0.1.7:53")
		})
	}
}

// icmpError quotes a packet; of a code 4 of type 3 the next hop takes 576 bytes.
func icmpError(kind, code byte, quote []byte) []byte {
	b := append([]byte{kind, code, 0, 0, 0, 0, 2, 0x40}, quote...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// The kernel has one table of neighbours for all interfaces. A task that asks by ARP
// in the names of many does not fill it: the host would soon find nobody.
func TestForgedARPFillsNoTable(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	bad, good := l.run("bad", "10.0.0.1", "open"), l.run("good", "10.0.0.2", "open")
	permissive(t, bad.veth(), good.veth())
	w, other := openWire(t, bad.Namespace, "eth0", bad.veth()), openWire(t, good.Namespace, "eth0", good.veth())
	everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for i := range 40 {
		who := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}).String() // the host has a route to it
		for _, target := range []string{netlab.Host, "10.0.0.2", "169.254.1.1"} {
			w.send(ethernet(everyone, w.mac, etherARP, arp(1, w.mac, who, target)))
			w.send(ethernet(w.peer, w.mac, etherARP, arp(2, w.mac, who, target)))
		}
	}
	bad.send("10.0.0.2", 9, end) // all that was sent before has been looked at
	other.until(isEnd)
	out, err := exec.Command("ip", "neigh", "show", "dev", bad.veth()).CombinedOutput()
	if want := "10.0.0.1 lladdr 02:74:0a:00:00:01 PERMANENT \n"; err != nil || string(out) != want {
		t.Errorf("the host knows on the task's interface\n%s, %v", out, err)
	}
}
