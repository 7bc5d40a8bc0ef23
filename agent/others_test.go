package agent_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// Other programs keep rules of their own on a host: whatever they write, and in
// whatever order, what policies allow passes and nothing else does.
func TestOtherFirewallsOnTheHost(t *testing.T) {
	const docker = `
		IPT -P FORWARD DROP
		for c in DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do IPT -N $c; done
		IPT -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		IPT -A FORWARD -o docker0 -j DOCKER
		IPT -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
		IPT -A FORWARD -i docker0 -o docker0 -j ACCEPT
		IPT -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		IPT -A DOCKER-ISOLATION-STAGE-1 -j RETURN
		IPT -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		IPT -A DOCKER-ISOLATION-STAGE-2 -j RETURN
		IPT -A DOCKER-USER -j RETURN
		IPT -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		IPT -I FORWARD -j DOCKER-ISOLATION-STAGE-1
		IPT -I FORWARD -j DOCKER-USER`
	for name, write := range map[string][]string{
		"Docker starts, and starts again": {docker, "IPT -D FORWARD -j DOCKER-USER; IPT -I FORWARD -j DOCKER-USER"},
		"a firewall writes the whole table": {
			`printf '*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:other - [0:0]\n-A FORWARD -j other\n-A other -s 203.0.113.0/24 -j ACCEPT\nCOMMIT\n' | IPT-restore`,
			`printf '*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\nCOMMIT\n' | IPT-restore`,
		},
		"a program keeps its own first": {
			"IPT -N first; IPT -A first -m conntrack --ctstate INVALID -j DROP; IPT -I FORWARD -j first",
			"IPT -D FORWARD -j first; IPT -I FORWARD -j first",
			"IPT -D FORWARD -j first; IPT -I FORWARD -j first",
		},
		"bridged packets meet the rules": {"echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; echo 1 >/proc/sys/net/bridge/bridge-nf-call-arptables; IPT -I FORWARD -j ACCEPT"},
	} {
		for _, backend := range bothBackends {
			t.Run(name+"/"+backend, func(t *testing.T) {
				ipt := "iptables-" + backend
				t.Cleanup(func() { run(t, "sh", "-c", ipt+" -P FORWARD ACCEPT; "+ipt+" -t nat -F") })
				l := newLab(t, func(c *agent.Config) { c.Backend, c.CheckEvery = backend, 500*time.Millisecond }) // of two legacy rules that change places the kernel does not tell
				l.must(work.Item{Programs: []work.Program{open("open"), posture("closed", nil, nil)}})
				a, b, shut := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open"), l.run("shut", "10.0.0.3", "closed")
				b.Serve("tcp", "10.0.0.2:80")
				shut.Serve("tcp", "10.0.0.3:80")
				held := a.hold("tcp", "10.0.0.2:80")
				for _, script := range write {
					if out, err := exec.Command("sh", "-ec", strings.ReplaceAll(script, "IPT", ipt)).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					l.await("drift", func(r work.Report) bool { return r.Drift != nil && strings.Contains(r.Drift.What, "FORWARD") })
					a.reaches("tcp", "10.0.0.2:80")
					b.reaches("tcp", "10.0.0.2:80")
					a.blocked("tcp", "10.0.0.3:80")
					shut.blocked("tcp", "10.0.0.2:80")
				}
				if err := netlab.Echo(held, 5*time.Second); err != nil {
					t.Errorf("a connection that was open all the time: %v", err)
				}
			})
		}
	}
}
