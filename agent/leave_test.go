package agent_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// open is a posture that lets everything pass.
func open(id string) work.Program { return posture(id, tier(allow(0, "")), tier(allow(0, ""))) }

// From the answer to a DEL on nothing of the task passes, though its interface
// goes only after it; and that it is detached is said when nothing is left.
func TestDelClosesAtOnce(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Programs: []work.Program{open("open")}})
			peer := l.run("peer", "10.0.0.9", "open")
			const rounds = 10
			for i := range rounds {
				tk := l.run(fmt.Sprint("t", i), "10.0.0.1", "open")
				tk.Serve("tcp", "10.0.0.1:80")
				conn := peer.hold("tcp", "10.0.0.1:80")
				if err := netlab.Echo(conn, netlab.Wait); err != nil {
					t.Fatal(err)
				}
				tk.del()
				if err := netlab.Echo(conn, netlab.Wait); err == nil {
					t.Error("a connection lives on after the answer to DEL")
				}
				l.await("detached", detached("fw/"+tk.executor))
				if left := veths(t); len(left) != 1 {
					t.Errorf("said to be detached with the interfaces %v, of which one is the peer's", left)
				}
				if files := attachments(t, l); len(files) != 1 {
					t.Errorf("said to be detached with the files %v, of which one is the peer's", files)
				}
				l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
			}
		})
	}
}

func attachments(t *testing.T, l *lab) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.cfg.StateDir, "attachments"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// The agent is killed after its answer to DEL and before the interface went:
// the next one does not open it again, and removes it.
func TestKilledAfterDel(t *testing.T) {
	l := newLab(t, inProcess)
	l.must(work.Item{Programs: []work.Program{open("open")}})
	peer, tk := l.run("peer", "10.0.0.9", "open"), l.run("a", "10.0.0.1", "open")
	tk.Serve("tcp", "10.0.0.1:80")
	peer.reaches("tcp", "10.0.0.1:80")
	l.kill()
	// What an agent leaves that is killed in that moment: the word taken back,
	// the file renamed, the interface whole.
	veth := attach.Name("fw/a", "taskwall")
	for _, set := range []string{"tw-src", "tw-dst"} {
		run(t, "ipset", "del", set, "10.0.0.1,"+veth)
	}
	file := filepath.Join(l.cfg.StateDir, "attachments", veth)
	if err := os.Rename(file+".json", file+".leaving"); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.await("detached", detached("fw/a"))
	if slices.Contains(veths(t), veth) {
		t.Error("the interface is still there")
	}
	l.snapshot()
	peer.blocked("tcp", "10.0.0.1:80")
	if files := attachments(t, l); len(files) != 1 {
		t.Errorf("files: %v, of which one is the peer's", files)
	}
	l.mesos.remove(tk.container) // Mesos knows that it ended; another takes its place
	tk.container = "c-a2"
	l.mesos.add(tk.container, "a")
	tk.mustAdd()
	peer.reaches("tcp", "10.0.0.1:80")
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// A container is attached again at once after its DEL, as when Mesos tries a
// launch again: it waits for the old interface to go and gets its own.
func TestAddRightAfterDel(t *testing.T) {
	l := newLab(t)
	l.must(work.Item{Programs: []work.Program{open("open")}})
	peer, tk := l.run("peer", "10.0.0.9", "open"), l.run("a", "10.0.0.1", "open")
	tk.Serve("tcp", "10.0.0.1:80")
	for range 5 {
		tk.del()
		l.mesos.add(tk.container, tk.executor)
		tk.mustAdd()
		peer.reaches("tcp", "10.0.0.1:80")
	}
}

// Many tasks end at once, and the sweep never rests: all are removed and
// reported, the others' interfaces and connections stay.
func TestManyDels(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend, c.SweepEvery = "nft", time.Millisecond })
	l.must(work.Item{Programs: []work.Program{open("open")}})
	a, b := l.run("a", "10.0.1.1", "open"), l.run("b", "10.0.1.2", "open")
	b.Serve("tcp", "10.0.1.2:80")
	conn := a.hold("tcp", "10.0.1.2:80")
	const n = 30
	var tasks []*task
	var ended []string
	for i := range n {
		tk := l.run(fmt.Sprint("t", i), fmt.Sprintf("10.0.0.%d", i), "open")
		tasks, ended = append(tasks, tk), append(ended, "fw/"+tk.executor)
	}
	l.must(work.Item{Delete: &work.Deletions{Endpoints: ended}})
	done := make(chan error, n)
	for _, tk := range tasks {
		go func() {
			if out, exit := tk.plugin("DEL", tk.config("0.2.0", "taskwall")); exit != 0 {
				done <- errors.New(out)
				return
			}
			done <- nil
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	left := slices.Clone(ended)
	for len(left) > 0 {
		r := l.await(fmt.Sprint("detached of one of ", left), func(r work.Report) bool {
			return r.Wiring != nil && detached(r.Wiring.Endpoint)(r)
		})
		left = slices.DeleteFunc(left, func(id string) bool { return id == r.Wiring.Endpoint })
	}
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("a connection of tasks that run broke: %v", err)
	}
	for _, tk := range []*task{a, b} {
		l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
		tk.gone()
	}
	l.must(work.Item{Delete: &work.Deletions{Programs: []string{"open"}}})
	nothingLeft(t, l, "nft")
}
