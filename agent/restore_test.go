package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/events/work"
	"github.com/vishvananda/netlink"
)

// While no agent runs, somebody changes the host's side of a running task: a
// network manager flushes routes that it does not know, or sysctl.d is applied again. The
// next agent mends it, with its records and without.
func TestMendsWhatWasHarmedWhileItWasAway(t *testing.T) {
	for name, harm := range map[string]string{
		"route":   "ip route flush proto 84",
		"down":    "ip link set VETH down",
		"setting": "sysctl -qw net.ipv4.conf.VETH.forwarding=0",
		"records": "ip route flush proto 84; rm -r STATE",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
			l.must(work.Item{Programs: []work.Program{open("open"), posture("closed", nil, nil)}})
			a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
			a.Serve("tcp", "10.0.0.1:80")
			b.Serve("tcp", "10.0.0.2:80")
			shut := l.run("shut", "10.0.0.3", "closed")
			b.reaches("tcp", "10.0.0.1:80")
			l.stop()
			run(t, "sh", "-c", strings.NewReplacer("VETH", attach.Name("fw/a", "taskwall"), "STATE", l.cfg.StateDir).Replace(harm))
			b.blocked("tcp", "10.0.0.1:80")
			l.start()
			l.snapshot()
			awaitCarrier(t, attach.Name("fw/a", "taskwall"))
			b.reaches("tcp", "10.0.0.1:80")
			a.reaches("tcp", "10.0.0.2:80")
			shut.blocked("tcp", "10.0.0.1:80")
			for _, tk := range []*task{a, b, shut} {
				l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
				tk.gone()
			}
			l.must(work.Item{Delete: &work.Deletions{Programs: []string{"open", "closed"}}})
			nothingLeft(t, l, "nft")
		})
	}
}

// awaitCarrier waits until an interface sends: the kernel finds out in its own
// time, and drops what is sent before without a word.
func awaitCarrier(t *testing.T, veth string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName(veth)
		if err != nil {
			t.Fatal(err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s has no carrier", veth)
		}
	}
}
