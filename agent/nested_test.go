package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// child is a task of a pod, in a container with a network of its own.
func (tk *task) child(name string) *task {
	tk.l.t.Helper()
	return &task{Namespace: netlab.New(tk.l.t), l: tk.l, executor: tk.executor + `\` + name, container: tk.container + "." + name}
}

// A nested container with a network of its own is the endpoint of its task, not
// of its executor: each has its address and its policies, and goes alone.
func TestNestedContainer(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend, c.WaitTimeout = backend, time.Minute })
			l.must(work.Item{Programs: []work.Program{
				posture("open", tier(allow(0, "")), tier(allow(0, ""))),
				posture("db", tier(allow(6, "", 5432)), nil),
			}, Endpoints: []work.Endpoint{endpoint(`pod\own`, "10.0.0.2", "db")}})
			pod, peer := l.run("pod", "10.0.0.1", "open"), l.run("peer", "10.0.0.3", "open")
			pod.Serve("tcp", "10.0.0.1:80")
			held := peer.hold("tcp", "10.0.0.1:80")

			own := pod.child("own")
			added := make(chan string, 1)
			go func() {
				out, exit := own.add()
				if exit == 0 {
					out = ""
				}
				added <- out
			}()
			<-l.mesos.asked // the Mesos agent does not know it yet
			l.mesos.nest(own.container, "pod", "own")
			if out := <-added; out != "" {
				t.Fatalf("ADD: %s", out)
			}
			own.Serve("tcp", "10.0.0.2:5432")
			own.Serve("tcp", "10.0.0.2:80")
			look := func() {
				t.Helper()
				peer.reaches("tcp", "10.0.0.2:5432")
				pod.reaches("tcp", "10.0.0.2:5432")
				peer.blocked("tcp", "10.0.0.2:80")
				own.blocked("tcp", "10.0.0.1:80") // it is its executor that may speak to others
				if err := netlab.Echo(held, netlab.Wait); err != nil {
					t.Errorf("the executor's connection broke: %v", err)
				}
			}
			look()

			// Neither a restart nor one without its records takes it for its executor's.
			for _, forget := range []bool{false, true} {
				l.stop()
				if forget {
					if err := os.RemoveAll(filepath.Join(l.cfg.StateDir, "attachments")); err != nil {
						t.Fatal(err)
					}
				}
				l.start()
				l.snapshot()
				look()
			}

			own.gone()
			peer.blocked("tcp", "10.0.0.2:5432")
			if err := netlab.Echo(held, netlab.Wait); err != nil {
				t.Errorf("the executor's connection broke with its task's end: %v", err)
			}
			peer.reaches("tcp", "10.0.0.1:80")
		})
	}
}

// Of a nested container that runs no task nobody can say what it may do: it is
// refused, and its parent's network goes on.
func TestNestedContainerWithoutATask(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend, c.WaitTimeout = "nft", 300*time.Millisecond })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
	a.Serve("tcp", "10.0.0.1:80")
	conn := b.hold("tcp", "10.0.0.1:80")
	l.mesos.nest(a.container+".other", "a", "other")
	child := a.child("mine")
	child.refused("is not among its tasks' containers (GET_TASKS on ")
	if out, exit := child.plugin("DEL", child.config("0.2.0", "taskwall")); exit != 0 { // as Mesos does after it
		t.Errorf("DEL: %s", out)
	}
	b.reaches("tcp", "10.0.0.1:80")
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("the parent's connection broke: %v", err)
	}
}
