package bgp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// other is a router whose routing daemon is not BIRD, with what it shows of a
// network in its table.
type other struct {
	t    testing.TB
	ns   *netlab.Namespace
	dir  string
	show []string // a command; the network is put after it
}

// session is that of an other with the host: external, with TTL security and,
// unless it is empty, a TCP MD5 key. Without one it is a route reflector, for
// all hosts that connect.
type session struct{ key string }

const hosts = "198.51.0.0/16"

func (o *other) write(name, text string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// run starts a daemon, which ends with the test at the latest; the answer is
// the command for Kill.
func (o *other) run(args ...string) *exec.Cmd {
	o.t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	o.ns.Do(cmd.Start)
	o.t.Cleanup(func() {
		end(cmd)
		if o.t.Failed() {
			o.t.Logf("%s: %s", args[0], log.String())
		}
	})
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	cmd.Wait()         //nolint:errcheck // it was killed
}

func (o *other) ask(network string) (string, error) {
	out, err := exec.Command(o.show[0], append(o.show[1:], network)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(o.show, " "), err, out)
	}
	return string(out), nil
}

// has says that it holds a route whose details have every text.
func (o *other) has(network string, texts ...string) error {
	out, err := o.ask(network)
	if err != nil {
		return err
	}
	for _, t := range append(texts, network) {
		if !strings.Contains(out, t) {
			return fmt.Errorf("no %q in what it shows of %s: %s", t, network, out)
		}
	}
	return nil
}

func (o *other) hasNot(network string) error {
	out, err := o.ask(network)
	if err == nil && strings.Contains(out, "64512") {
		err = fmt.Errorf("it has %s: %s", network, out)
	}
	return err
}

// frr runs FRRouting (https://frrouting.org): zebra, which writes the kernel's
// routes, and bgpd. The answer starts bgpd again.
func frr(o *other, asn uint32, id netip.Addr, networks []string, with *session) (restart func()) {
	const programs = "/usr/lib/frr/"
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id %s\n bgp graceful-restart\n no bgp ebgp-requires-policy\n no bgp network import-check\n", asn, id)
	name := "hosts"
	if with != nil {
		name = hostOn(0).String()
		fmt.Fprintf(&b, " neighbor %s remote-as 64512\n neighbor %[1]s port %d\n neighbor %[1]s timers connect 1\n neighbor %[1]s ttl-security hops 1\n", name, port)
		if with.key != "" {
			fmt.Fprintf(&b, " neighbor %s password %s\n", name, with.key)
		}
	} else {
		fmt.Fprintf(&b, " neighbor hosts peer-group\n neighbor hosts remote-as %d\n bgp listen range %s peer-group hosts\n", asn, hosts)
	}
	fmt.Fprintf(&b, " neighbor %s timers 3 9\n neighbor %[1]s advertisement-interval 0\n address-family ipv4 unicast\n", name)
	for _, p := range networks {
		fmt.Fprintf(&b, "  network %s\n", p)
	}
	if with == nil {
		b.WriteString("  neighbor hosts route-reflector-client\n")
	}
	b.WriteString(" exit-address-family\n")
	shared := []string{"-z", o.dir + "/zebra.api", "--vty_socket", o.dir, "--log", "stdout"}
	o.run(append([]string{programs + "zebra", "-f", o.write("zebra.conf", ""), "-i", o.dir + "/zebra.pid"}, shared...)...)
	args := append([]string{programs + "bgpd", "-f", o.write("bgpd.conf", b.String()), "-i", o.dir + "/bgpd.pid"}, shared...)
	cmd := o.run(args...)
	o.show = []string{"sh", "-c", `exec vtysh --vty_socket "$0" -c "show ip bgp $1"`, o.dir}
	return func() {
		end(cmd)
		o.run(args...)
	}
}

// openbgpd runs OpenBGPD (https://www.openbgpd.org), which on Linux leaves the
// kernel's routes to others and expects no TCP MD5 keys from who connects to it.
// The answer starts it again.
func openbgpd(o *other, asn uint32, id netip.Addr, networks []string, with *session) (restart func()) {
	var b strings.Builder
	socket := o.dir + "/sock"
	fmt.Fprintf(&b, "AS %d\nrouter-id %s\nsocket \"%s\"\n", asn, id, socket)
	for _, p := range networks {
		fmt.Fprintf(&b, "network %s\n", p)
	}
	if with != nil {
		fmt.Fprintf(&b, "neighbor %s {\n remote-as 64512\n port %d\n holdtime 9\n ttl-security yes\n}\n", hostOn(0), port)
	} else {
		fmt.Fprintf(&b, "neighbor %s {\n remote-as %d\n holdtime 9\n passive\n route-reflector\n}\n", hosts, asn)
	}
	b.WriteString("allow from any\nallow to any\n")
	conf := o.write("bgpd.conf", b.String())
	if err := os.Chmod(conf, 0o600); err != nil {
		o.t.Fatal(err)
	}
	if err := os.MkdirAll("/run/openbgpd", 0o755); err != nil { // where it locks itself in
		o.t.Fatal(err)
	}
	o.ns.Do(func() error {
		return exec.Command("ip", "route", "add", "10.0.0.0/24", "via", hostOn(0).String()).Run()
	})
	cmd := o.run("/usr/sbin/bgpd", "-d", "-f", conf)
	o.show = []string{"bgpctl", "-s", socket, "show", "rib", "detail"}
	return func() {
		end(cmd)
		eventually(o.t, "its parts have ended too", func() error {
			if out, err := o.ask("0.0.0.0/0"); err == nil {
				return errors.New(out)
			}
			return nil
		})
		o.run("/usr/sbin/bgpd", "-d", "-f", conf)
	}
}

var others = []struct {
	name, key string
	start     func(o *other, asn uint32, id netip.Addr, networks []string, with *session) (restart func())
}{
	{"FRR", "correct-horse", frr}, {"OpenBGPD", "", openbgpd},
}

func newOther(t *testing.T) *other {
	t.Helper()
	dir := fmt.Sprintf("/run/netlab/other-%s", filepath.Base(t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The daemons give up their privileges before they make their sockets.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // /run ends with the test
	return &other{t: t, ns: netlab.New(t), dir: dir}
}

// An external session with routers of other makes, with a number of four bytes,
// a TCP MD5 key where they can, and TTL security: routes and packets go both ways, what is
// withdrawn goes, and the session comes back when its peer was killed.
func TestOtherRouters(t *testing.T) {
	for _, of := range others {
		t.Run(of.name, func(t *testing.T) {
			noLeaks(t)
			o := newOther(t)
			netlab.Join(t, "up0", hostOn(0).String()+"/24", o.ns, "up0", routerOn(0).String()+"/24")
			o.ns.Do(func() error { return exec.Command("ip", "addr", "add", "172.20.5.1/32", "dev", "lo").Run() })
			restart := of.start(o, 4200000001, routerOn(0), []string{"172.20.5.0/24", "172.20.6.0/24", "0.0.0.0/0"},
				&session{of.key})
			b := config(peerOn(0, 4200000001))
			b.Peers[0].TTLSecurity = 1
			secrets := t.TempDir()
			if of.key != "" {
				if err := os.WriteFile(filepath.Join(secrets, "key"), []byte(of.key), 0o600); err != nil {
					t.Fatal(err)
				}
				b.Peers[0].Password = "key"
			}
			s := speak(t, bgp.Config{Secrets: secrets})
			b.Announce = []work.Announcement{
				{Prefix: prefix("10.0.0.0/24"), Communities: []string{"64512:100", "64512:0:100"}},
				{Prefix: prefix("10.0.5.5/32")},
			}
			ip(t, "addr add 10.0.0.7/32 dev lo")
			t.Cleanup(func() { ip(t, "addr del 10.0.0.7/32 dev lo") })
			netlab.ServeHere(t, "udp", "10.0.0.7:7778")
			s.apply(b)
			s.established("r0")
			eventually(t, "learned", kernelHas(t, via("172.20.5.0/24", 0), via("172.20.6.0/24", 0)))
			eventually(t, "the default route is refused", func() error {
				if r := s.refusal("0.0.0.0/0"); len(r) != 1 {
					return fmt.Errorf("%+v", r)
				}
				return nil
			})
			eventually(t, "announced", func() error {
				return errors.Join(o.has("10.0.0.0/24", "64512:100", "64512:0:100", "198.51.100.1"), o.has("10.0.5.5/32"))
			})
			echo(t, o.ns)

			fewer := *b
			fewer.Announce = b.Announce[:1]
			s.apply(&fewer)
			eventually(t, "withdrawn", func() error { return o.hasNot("10.0.5.5/32") })

			restart()
			eventually(t, "announced again", func() error { return o.has("10.0.0.0/24", "64512:100") })
			eventually(t, "learned again", kernelHas(t, via("172.20.5.0/24", 0), via("172.20.6.0/24", 0)))
			echo(t, o.ns)
		})
	}
}

// echo sends packets from the router's network to the host's block and back.
func echo(t *testing.T, from *netlab.Namespace) {
	t.Helper()
	eventually(t, "packets go both ways", func() error {
		c, err := from.DialFrom("udp", "172.20.5.1", "10.0.0.7:7778")
		if err != nil {
			return err
		}
		defer c.Close()
		return netlab.Echo(c, time.Second)
	})
}

// Another make as route reflector of two hosts: each learns the other's block,
// with the other as next hop.
func TestOtherReflectors(t *testing.T) {
	for _, of := range others {
		t.Run(of.name, func(t *testing.T) {
			noLeaks(t)
			o := newOther(t)
			netlab.Join(t, "up0", hostOn(0).String()+"/24", o.ns, "up0", routerOn(0).String()+"/24")
			far := netlab.New(t)
			o.ns.Do(func() error {
				netlab.Join(t, "up1", routerOn(1).String()+"/24", far, "up1", hostOn(1).String()+"/24")
				return nil
			})
			of.start(o, 64512, routerOn(0), nil, nil)
			theirs := config(peerOn(1, 64512))
			theirs.RouterID, theirs.Announce = hostOn(1), []work.Announcement{{Prefix: prefix("10.0.7.0/24"), Communities: []string{"64512:7"}}}
			startChild(t, theirs, far.Do)
			// The next hop is a host behind the reflector's router.
			ip(t, "route add 198.51.101.0/24 via 198.51.100.2 proto static")
			t.Cleanup(func() { ip(t, "route del 198.51.101.0/24") })
			s := speak(t, bgp.Config{})
			s.apply(config(peerOn(0, 64512)))
			s.established("r0")
			eventually(t, "learned", func() error {
				if out := ip(t, "route show proto 85"); !strings.Contains(out, "10.0.7.0/24 via 198.51.100.2") {
					return errors.New(out)
				}
				return nil
			})
			far.Do(func() error {
				return exec.Command("ip", "route", "add", "198.51.100.0/24", "via", routerOn(1).String()).Run()
			})
			eventually(t, "the other host has learned too", func() error {
				var out []byte
				far.Do(func() (err error) {
					out, err = exec.Command("ip", "route", "show", "proto", "85").Output()
					return err
				})
				if !strings.Contains(string(out), "10.0.0.0/24 via 198.51.101.2") {
					return errors.New(string(out))
				}
				return nil
			})
		})
	}
}
