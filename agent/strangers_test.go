package agent_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// Other software that programs the same kernel, as it does on real hosts: while the
// agent is busy elsewhere, with its rules above ours or all rules gone. Soon ours
// decide again: what is allowed passes with its own address, what is denied does
// not, connections that were opened meanwhile are cut, the others live on, and what
// the other software is for works.
func TestStrangersOnTheHost(t *testing.T) {
	const docker = `
		iptables-B -P FORWARD DROP
		for c in DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do iptables-B -N $c; done
		iptables-B -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		iptables-B -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		iptables-B -A DOCKER ! -i docker0 -o docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT
		iptables-B -I FORWARD -o docker0 -j DOCKER
		iptables-B -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables-B -I FORWARD -i docker0 ! -o docker0 -j ACCEPT
		iptables-B -I FORWARD -i docker0 -o docker0 -j ACCEPT
		iptables-B -I FORWARD -j DOCKER-ISOLATION-STAGE-1
		iptables-B -I FORWARD -j DOCKER-USER
		iptables-B -t nat -N DOCKER
		iptables-B -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
		iptables-B -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		iptables-B -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables`
	const kube = `
		iptables-B -N KUBE-FORWARD
		iptables-B -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		iptables-B -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
		iptables-B -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables-B -I FORWARD -j KUBE-FORWARD
		iptables-B -t nat -N KUBE-POSTROUTING
		iptables-B -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		iptables-B -t nat -A KUBE-POSTROUTING -j MASQUERADE
		iptables-B -t nat -A POSTROUTING -j KUBE-POSTROUTING
		iptables-B -t nat -A PREROUTING -d 10.96.0.1 -p tcp -j DNAT --to-destination 10.0.0.2`
	const ufw = `
		iptables-B -F; iptables-B -X
		iptables-B-restore <<-END
			*filter
			:INPUT DROP
			:FORWARD DROP
			:OUTPUT ACCEPT
			:ufw-before-input -
			:ufw-before-forward -
			-A INPUT -j ufw-before-input
			-A FORWARD -j ufw-before-forward
			-A ufw-before-input -i lo -j ACCEPT
			-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			-A ufw-before-input -p tcp --dport 22 -j ACCEPT
			-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			COMMIT
		END`
	for name, tc := range map[string]struct {
		harm  string // B stands for the backend
		opens bool   // until it is mended, for what is denied
		more  func(*testing.T, *task)
	}{
		"Docker": {docker, false, func(t *testing.T, web *task) {
			one, two := netlab.New(t), netlab.New(t)
			bridged(t, one, "dk1", "172.17.0.2/16")
			bridged(t, two, "dk2", "172.17.0.3/16")
			one.Serve("tcp", "172.17.0.2:80")
			eventually(t, "the answer of a container to its neighbour", func() bool { return two.Reach("tcp", "172.17.0.2:80") == nil })
			for _, port := range []string{"80", "81"} {
				if two.Reach("tcp", "10.0.0.2:"+port) == nil {
					t.Errorf("a container of Docker's reaches port %s of a task and must not", port)
				}
			}
			web.blocked("tcp", "172.17.0.2:80")
			web.blocked("tcp", netlab.Host+":8080") // a published port is the container's
		}},
		"kube-proxy": {kube, false, func(t *testing.T, web *task) {
			// A service whose server is the task: policies see the task.
			eventually(t, "the service's answer", func() bool { return web.Reach("tcp", "10.96.0.1:80") == nil })
			web.blocked("tcp", "10.96.0.1:81")
		}},
		"ufw":                  {ufw, false, nil},
		"an old copy restored": {"iptables-B-restore <$OLD", true, nil},
		"all accepted":         {"iptables-B -I FORWARD -j ACCEPT", true, nil},
		"masks of marks":       {"iptables-B -t nat -A POSTROUTING -m mark ! --mark 0x0/0xfffffff -j MASQUERADE", false, nil}, // of more bits than theirs
		"conntrack zones":      {"iptables-B -t raw -A PREROUTING -j CT --zone 7; iptables-B -t raw -A OUTPUT -j CT --zone 7", false, nil},
		"strict reverse path":  {"for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done", false, nil},
		"loose reverse path":   {"for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 2 >$f; done", false, nil},
	} {
		for _, backend := range bothBackends {
			if backend == "legacy" && !strings.Contains(tc.harm, "iptables") {
				continue
			}
			t.Run(name+"/"+backend, func(t *testing.T) {
				t.Cleanup(func() { // after the lab's
					out, err := exec.Command("sh", "-c", `
						for b in nft legacy; do iptables-$b -P INPUT ACCEPT; iptables-$b -P FORWARD ACCEPT
							for t in nat raw; do iptables-$b -t $t -F; iptables-$b -t $t -X; done; done
						for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done`).CombinedOutput()
					if err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
				l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.CheckEvery = backend, 500*time.Millisecond })
				far := neighbourHost(t)
				db := func(ports ...uint16) work.Program { return posture("db", tier(allow(6, "peers", ports...)), nil) }
				l.must(work.Item{
					Sets:     []work.Set{nets("peers", "10.0.0.1", "10.0.1.7"), nets("servers", "10.0.0.2", "10.0.1.7")},
					Programs: []work.Program{db(80, 81), posture("web", nil, tier(to(allow(6, "servers"))))},
					Routes:   blocks(),
				})
				server, web := l.run("db", "10.0.0.2", "db"), l.run("web", "10.0.0.1", "web")
				old, err := exec.Command("iptables-" + backend + "-save").Output()
				if err != nil {
					t.Fatal(err)
				}
				copied := filepath.Join(t.TempDir(), "old")
				if err := os.WriteFile(copied, old, 0o600); err != nil {
					t.Fatal(err)
				}
				l.must(work.Item{Programs: []work.Program{db(80)}})
				for _, port := range []string{"80", "81"} {
					server.Serve("tcp", "10.0.0.2:"+port)
				}
				from := farServer(t, far, "10.0.1.7:5432")
				netlab.ServeHere(t, "tcp", "198.51.100.1:22")
				held := web.hold("tcp", "10.0.0.2:80")
				want := ours(t, backend)

				syscall.Kill(l.pid, syscall.SIGSTOP) //nolint:errcheck // it is ours
				harm := exec.Command("sh", "-c", strings.ReplaceAll(tc.harm, "-B", "-"+backend))
				harm.Env = append(os.Environ(), "OLD="+copied)
				out, err := harm.CombinedOutput()
				var opened net.Conn
				if err == nil && tc.opens {
					opened, err = web.Dial("tcp", "10.0.0.2:81")
				}
				syscall.Kill(l.pid, syscall.SIGCONT) //nolint:errcheck // it is ours
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				eventually(t, "the rules", func() bool { return ours(t, backend) == want })

				if opened != nil {
					defer opened.Close()
					eventually(t, "the end of the connection that was opened meanwhile", func() bool { return netlab.Echo(opened, netlab.Wait) != nil })
				}
				if err := netlab.Echo(held, 5*time.Second); err != nil {
					t.Errorf("the connection that was allowed all the time broke: %v", err)
				}
				for _, to := range []string{"10.0.0.2:80", "10.0.1.7:5432"} {
					eventually(t, "an answer of "+to, func() bool { return web.Reach("tcp", to) == nil })
				}
				if got := <-from; got != "10.0.0.1" {
					t.Errorf("the other host saw %s, want the task's own address", got)
				}
				web.blocked("tcp", "10.0.0.2:81")
				web.blocked("tcp", netlab.Host+":22")
				called := func(from, to string) bool {
					c, err := far.DialFrom("tcp", from, to)
					if err == nil {
						c.Close()
					}
					return err == nil
				}
				eventually(t, "an answer to another host", func() bool { return called("10.0.1.7", "10.0.0.2:80") })
				eventually(t, "the host's answer to another", func() bool { return called("198.51.100.2", "198.51.100.1:22") })
				if called("10.0.1.7", "10.0.0.2:81") || called("198.51.100.2", "10.0.0.2:80") {
					t.Error("another host reaches what is denied")
				}
				eventually(t, "the task's answer to its host", func() bool { return netlab.ReachHere("tcp", "10.0.0.2:80") == nil })
				if tc.more != nil {
					tc.more(t, web)
				}
				l.must(work.Item{Members: []work.SetEdit{{ID: "peers", Remove: []string{"10.0.0.1"}}}})
				if netlab.Echo(held, netlab.Wait) == nil {
					t.Error("a connection lives on without its permission")
				}
			})
		}
	}
}

// ours is what the agent programs among the rules, and which of ours are first in a
// built-in chain.
func ours(t *testing.T, backend string) string {
	t.Helper()
	var lines []string
	builtin := ""
	for line := range strings.Lines(kernel(t, backend)) {
		chain, _, _ := strings.Cut(strings.TrimPrefix(line, "-A "), " ")
		first := chain != builtin
		builtin = chain
		if !strings.Contains(line, "tw-") {
			continue
		}
		if first {
			line = "first: " + line
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// farServer echoes, and says from which address it was called.
func farServer(t *testing.T, far *netlab.Namespace, addr string) <-chan string {
	t.Helper()
	callers := make(chan string, 10)
	far.Do(func() error {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				callers <- c.RemoteAddr().(*net.TCPAddr).IP.String()
				b := make([]byte, 8)
				if n, err := c.Read(b); err == nil {
					c.Write(b[:n])
				}
				c.Close()
			}
		}()
		return nil
	})
	return callers
}

// bridged puts a container on Docker's bridge.
func bridged(t *testing.T, n *netlab.Namespace, veth, addr string) {
	t.Helper()
	sh := func(script string) error {
		out, err := exec.Command("sh", "-ec", script).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
		return err
	}
	sh(`ip link show docker0 >/dev/null 2>&1 || { ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; }`)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "docker0").Run() }) //nolint:errcheck // the other container's may have
	netlab.Join(t, veth, "169.254.7.1/32", n, "eth0", addr)
	sh("ip addr flush dev " + veth + "; ip link set " + veth + " master docker0")
	n.Do(func() error { return sh("ip route add default via 172.17.0.1") })
}

// A firewall with a table of its own, as firewalld has, is asked besides ours: what it
// refuses is refused, and nothing that it accepts is for that. Open connections go on,
// and nothing of it is touched or counts as drift.
func TestAnotherFirewallBesidesOurs(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend, c.CheckEvery = backend, 100*time.Millisecond })
			l.must(work.Item{Programs: []work.Program{open("open"), posture("db", tier(allow(6, "", 80)), nil)}})
			a, db := l.run("a", "10.0.0.1", "open"), l.run("db", "10.0.0.2", "db")
			db.Serve("tcp", "10.0.0.2:80")
			db.Serve("tcp", "10.0.0.2:81")
			conn := a.hold("tcp", "10.0.0.2:80")
			// Its chain comes after ours, as that of firewalld.
			rules := func(script string) {
				t.Helper()
				run(t, "sh", "-ec", strings.ReplaceAll(script, "-B", "-"+backend+" -t security"))
			}
			t.Cleanup(func() { rules("iptables-B -F; iptables-B -X") })
			rules(`iptables-B -N trusted; iptables-B -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
				iptables-B -A FORWARD -j trusted; iptables-B -A FORWARD -j DROP`)
			a.blocked("tcp", "10.0.0.2:80")
			if err := netlab.Echo(conn, netlab.Wait); err != nil {
				t.Errorf("an open connection broke: %v", err)
			}
			rules("iptables-B -A trusted -s 10.0.0.0/24 -j ACCEPT") // as the docs say
			a.reaches("tcp", "10.0.0.2:80")
			a.blocked("tcp", "10.0.0.2:81")
			run(t, "ipset", "flush", "tw-own") // what a check finds
			if r := l.await("drift", func(r work.Report) bool { return r.Drift != nil }); !strings.Contains(r.Drift.What, "tw-own") {
				t.Errorf("taken for drift: %s", r.Drift.What)
			}
			a.reaches("tcp", "10.0.0.2:80")
			rules("iptables-B -D FORWARD -j DROP") // it is there as it was
		})
	}
}
