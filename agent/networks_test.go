package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// call runs the plugin for one network and interface of the task's.
func (tk *task) call(command, network, iface string) (stdout string, exit int) {
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": tk.container, "CNI_NETNS": tk.Path, "CNI_IFNAME": iface, "CNI_PATH": "/opt/cni"}
	var out, errs bytes.Buffer
	exit = cni.Plugin(func(k string) string { return env[k] }, strings.NewReader(tk.config("0.2.0", network)), &out, &errs)
	return out.String(), exit
}

// A container on several of our networks gets an address and an interface of
// each, in whatever order Mesos calls, and each is reached and answers by its own;
// the end of one leaves the others.
func TestSeveralNetworks(t *testing.T) {
	const backend = "nft"
	l := newLab(t, inProcess, func(c *agent.Config) {
		c.Backend, c.Networks, c.SweepEvery = backend, []string{"taskwall", "dmz", "audit"}, 100*time.Millisecond
	})
	networks := []string{"taskwall", "dmz", "audit"}
	it := work.Item{Programs: []work.Program{posture("open", tier(allow(6, "")), tier(allow(6, "")))}}
	var gone []string
	for i, n := range networks {
		ep := endpoint("multi", fmt.Sprintf("10.0.%d.1", i), "open")
		ep.ID, ep.Network = work.EndpointID("fw/multi", n, i), n
		it.Endpoints, gone = append(it.Endpoints, ep), append(gone, ep.ID)
	}
	tk := l.container("multi")
	var calls sync.WaitGroup
	for i, n := range networks {
		calls.Go(func() {
			out, exit := tk.call("ADD", n, fmt.Sprintf("eth%d", i))
			if want := fmt.Sprintf(`"10.0.%d.1/32"`, i); exit != 0 || !strings.Contains(out, want) {
				t.Errorf("ADD on %s: %d %s", n, exit, out)
			}
		})
	}
	l.must(it) // while the calls wait
	calls.Wait()
	peer := l.run("peer", "10.0.0.9", "open")
	reach := func() {
		t.Helper()
		for i := range networks {
			peer.reaches("tcp", fmt.Sprintf("10.0.%d.1:80", i))
		}
	}
	for i := range networks {
		tk.Serve("tcp", fmt.Sprintf("10.0.%d.1:80", i))
	}
	reach()
	tk.Do(func() error {
		if out, err := exec.Command("ip", "route", "get", "10.0.0.9").CombinedOutput(); err != nil || !strings.Contains(string(out), "dev eth0") {
			t.Errorf("the default way is not eth0: %s", out)
		}
		return nil
	})
	l.kill()
	l.start()
	l.snapshot()
	reach()
	// The state directory is lost: each interface is known by its name, and the one
	// inside, which DEL names, is found.
	l.kill()
	if err := os.RemoveAll(l.cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.snapshot()
	reach()
	for i, n := range networks { // once the Mesos agent has said whose they are
		limit := time.Now().Add(20 * time.Second)
		for {
			out, exit := tk.call("CHECK", n, fmt.Sprintf("eth%d", i))
			if exit == 0 {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("CHECK on %s: %s", n, out)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if out, exit := tk.call("DEL", "dmz", "eth1"); exit != 0 {
		t.Error(out)
	}
	l.await("detached", detached("fw/multi/dmz"))
	peer.blocked("tcp", "10.0.1.1:80")
	peer.reaches("tcp", "10.0.0.1:80")
	peer.reaches("tcp", "10.0.2.1:80")
	l.must(work.Item{Delete: &work.Deletions{Endpoints: append(gone, "fw/peer")}})
	for i, n := range networks {
		if out, exit := tk.call("DEL", n, fmt.Sprintf("eth%d", i)); exit != 0 {
			t.Error(out)
		}
		if i != 1 { // that one is gone already
			l.await("detached", detached(gone[i]))
		}
	}
	peer.gone()
	l.must(work.Item{Delete: &work.Deletions{Programs: []string{"open"}}})
	nothingLeft(t, l, backend)
}

// Many systems turn the strict check of the way back on (net.ipv4.conf.*.rp_filter
// is 1), and a task on several networks inherits it: it is reached on each all the
// same, and reaches others from each.
func TestSeveralNetworksWithStrictReversePath(t *testing.T) {
	networks := []string{"taskwall", "dmz", "audit"}
	l := newLab(t, func(c *agent.Config) { c.Backend, c.Networks = "nft", networks })
	it := work.Item{Programs: []work.Program{open("open")}}
	for i, n := range networks {
		ep := endpoint("multi", fmt.Sprintf("10.0.%d.1", i), "open")
		ep.ID, ep.Network = work.EndpointID("fw/multi", n, i), n
		it.Endpoints = append(it.Endpoints, ep)
	}
	l.must(it)
	peer, tk := l.run("peer", "10.0.0.9", "open"), l.container("multi")
	peer.Serve("tcp", "10.0.0.9:80")
	const strict = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done"
	within(t, tk.Namespace, strict) // what its interfaces will have
	for i := len(networks) - 1; i >= 0; i-- {
		if out, exit := tk.call("ADD", networks[i], fmt.Sprintf("eth%d", i)); exit != 0 {
			t.Fatalf("ADD on %s: %s", networks[i], out)
		}
	}
	within(t, tk.Namespace, `[ "$(cat /proc/sys/net/ipv4/conf/eth*/rp_filter | tr -d '\n')" = 111 ]`)
	for i := range networks {
		addr := fmt.Sprintf("10.0.%d.1", i)
		tk.Serve("tcp", addr+":80")
		peer.reaches("tcp", addr+":80")
		peer.reaches("icmp", addr)
		if err := netlab.ReachHere("tcp", addr+":80"); err != nil {
			t.Errorf("the host cannot reach %s: %v", addr, err)
		}
		c, err := tk.DialFrom("tcp", addr, "10.0.0.9:80")
		if err == nil {
			err = netlab.Echo(c, netlab.Wait)
			c.Close()
		}
		if err != nil {
			t.Errorf("from %s: %v", addr, err)
		}
	}
}

// An executor whose id another host's has, too, is told of by a name that holds
// this host's; Mesos knows it by its id alone.
func TestAnExecutorOfAnIdThatAnotherHostHasToo(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	id := work.EndpointAt("h1", "fw/default", "taskwall", 0)
	ep := endpoint("default", "10.0.0.1", "")
	ep.ID = id
	l.must(work.Item{Endpoints: []work.Endpoint{ep}})
	tk := l.container("default")
	tk.mustAdd()
	l.await("attached", func(r work.Report) bool {
		return r.Wiring != nil && r.Wiring.Endpoint == id && r.Wiring.State == events.Attached
	})
	if out, exit := tk.call("DEL", "taskwall", "eth0"); exit != 0 {
		t.Error(out)
	}
	l.await("detached", detached(id))
}
