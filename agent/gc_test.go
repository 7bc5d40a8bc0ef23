package agent_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// gc calls GC on the network; the tasks are those that its caller knows.
func (l *lab) gc(network string, valid ...*task) {
	l.t.Helper()
	var known []string
	for _, tk := range valid {
		known = append(known, fmt.Sprintf(`{"containerID":%q,"ifname":"eth0"}`, tk.container))
	}
	any := &task{Namespace: &netlab.Namespace{}, l: l, container: "any"}
	out, exit := any.plugin("GC", fmt.Sprintf(`{"cniVersion":"1.1.0","name":%q,"type":"taskwall-cni","socket":%q,"cni.dev/valid-attachments":[%s]}`,
		network, l.cfg.Socket, strings.Join(known, ",")))
	if exit != 0 {
		l.t.Fatalf("GC: %s", out)
	}
}

// GC takes what CNI attached and nobody has any more, and nothing else: no
// Docker task, which CNI did not attach, and nothing whose container is not known.
func TestGC(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	l.must(work.Item{Programs: []work.Program{open("open")}, Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "open")}})
	kept, lost := l.run("kept", "10.0.0.1", "open"), l.run("lost", "10.0.0.2", "open")
	img := l.dockerRun(d, "img", "none")
	l.await("attached", attached("fw/img"))
	img.Serve("tcp", "10.0.0.7:80")
	conn := kept.hold("tcp", "10.0.0.7:80")
	l.gc("another")
	lost.reaches("tcp", "10.0.0.7:80")
	l.gc("taskwall", kept)
	l.await("detached", detached("fw/lost"))
	l.gc("taskwall", kept, lost)
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("the connection of tasks that run broke: %v", err)
	}
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/lost"}}})

	// Without its records the agent knows the interfaces by their names alone, and
	// nobody says yet whose one is.
	l.kill()
	l.mesos.remove(kept.container)
	if err := os.RemoveAll(l.cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.snapshot()
	l.gc("taskwall")
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("after its records were lost, the connection broke: %v", err)
	}
}

// CHECK finds what a task lacks of its network, and an ADD of the same container
// makes it whole.
func TestCheckFindsWhatATaskLacks(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{open("open")}})
	peer, tk := l.run("peer", "10.0.0.9", "open"), l.run("a", "10.0.0.1", "open")
	peer.Serve("tcp", "10.0.0.9:80")
	for _, harm := range []string{"route del default", "link set eth0 down", "addr flush dev eth0"} {
		if out, exit := tk.plugin("CHECK", tk.config("1.1.0", "taskwall")); exit != 0 {
			t.Fatalf("CHECK of a whole attachment: %s", out)
		}
		run(t, append([]string{"nsenter", "--net=" + tk.Path, "ip"}, strings.Fields(harm)...)...)
		if out, exit := tk.plugin("CHECK", tk.config("1.1.0", "taskwall")); exit == 0 || !strings.Contains(out, "eth0") {
			t.Errorf("CHECK after %q: exit %d, %s", harm, exit, out)
		}
		tk.mustAdd()
		tk.reaches("tcp", "10.0.0.9:80")
	}
}
