package agent_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

// dieAt is the file, beside the agent's socket, that names the step at which its
// process ends.
const dieAt = "die-at"

// dies arms a step, does what leads to it, waits until the agent has ended there,
// and starts another, whose controller is not there yet.
func (l *lab) dies(where string, do func()) {
	l.t.Helper()
	l.ends(where, do)
	l.start()
}

// ends is dies without the start.
func (l *lab) ends(where string, do func()) {
	l.t.Helper()
	file := filepath.Join(filepath.Dir(l.cfg.Socket), dieAt)
	if err := os.WriteFile(file, []byte(where), 0o600); err != nil {
		l.t.Fatal(err)
	}
	do()
	eventually(l.t, "the end at the step "+where, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	if err := os.Remove(file); err != nil {
		l.t.Fatal(err)
	}
	l.kill()
}

// The agent is killed between any two changes of the disk and the kernel that
// an ADD or a DEL makes. The plugin, or Mesos, asks again; in the end the task has its
// network, and then nothing is left of it.
func TestKilledAtEachStepOfATask(t *testing.T) {
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Sets: []work.Set{nets("web", "10.0.0.1")}, Programs: []work.Program{
		posture("db", tier(allow(6, "web", 5432)), nil), posture("out", nil, tier(allow(0, ""))),
	}})
	db, other := l.run("db", "10.0.0.2", "db"), l.run("other", "10.0.0.3", "out")
	db.Serve("tcp", "10.0.0.2:5432")
	before := kernel(t, "nft")
	n := 0
	next := func() *task {
		n++
		name := fmt.Sprint("web", n)
		l.must(work.Item{Endpoints: []work.Endpoint{endpoint(name, "10.0.0.1", "out")}})
		tk := l.container(name)
		tk.addr = "10.0.0.1"
		return tk
	}
	gone := func(tk *task) {
		t.Helper()
		tk.del()
		id := "fw/" + tk.executor
		tk.blocked("tcp", "10.0.0.2:5432")
		// It was said when nothing was left, to whoever heard; it is said again to
		// who asks.
		l.post(work.Item{Delete: &work.Deletions{Endpoints: []string{id}}})
		l.await(id+" detached", detached(id))
		if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
			t.Errorf("left of %s:\n%s", id, d)
		}
		if files := attachments(t, l); len(files) != 2 {
			t.Errorf("files left: %v", files)
		}
	}
	for _, where := range []string{"attachment on disk", "interface made", "wired", "led out"} {
		tk := next()
		added := make(chan string, 1)
		l.dies(where, func() {
			go func() {
				out, exit := tk.add()
				if exit == 0 {
					out = ""
				}
				added <- out
			}()
		})
		if out := <-added; out != "" {
			t.Fatalf("killed with %s: ADD: %s", where, out)
		}
		tk.reaches("tcp", "10.0.0.2:5432")
		other.blocked("tcp", "10.0.0.2:5432")
		l.snapshot()
		tk.reaches("tcp", "10.0.0.2:5432")
		gone(tk)
	}
	for _, where := range []string{"shut", "leaving on disk", "interface gone", "attachment off disk"} {
		tk := next()
		tk.mustAdd()
		conn := tk.hold("tcp", "10.0.0.2:5432")
		done := make(chan struct{})
		l.dies(where, func() {
			go func() {
				defer close(done)
				tk.plugin("DEL", tk.config("0.2.0", "taskwall"))
			}()
		})
		<-done
		l.snapshot()
		gone(tk)
		if netlab.Echo(conn, netlab.Wait) == nil {
			t.Errorf("killed with %s: its connection lives on", where)
		}
	}
}

// The agent is killed between any two changes that an item makes. The next one
// brings the kernel to the whole of it, also without a controller; what is allowed
// before and after passes all along, what the item denies is cut.
func TestKilledAtEachStepOfAnItem(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = backend })
			block := netip.MustParsePrefix("10.0.9.0/24")
			db := func(sets ...string) work.Program {
				var rules []work.Rule
				for _, s := range sets {
					rules = append(rules, allow(6, s, 5432))
				}
				return posture("db", tier(rules...), nil)
			}
			old := work.Item{
				Sets:      []work.Set{nets("web", "10.0.0.1", "10.0.0.3"), nets("old", "10.0.0.4")},
				Programs:  []work.Program{db("web", "old"), posture("out", nil, tier(allow(0, ""))), posture("past", nil, tier(allow(0, "old")))},
				Routes:    []work.Route{{Prefix: block}},
				Endpoints: []work.Endpoint{endpoint("mover", "10.0.0.4", "out")},
			}
			change := work.Item{
				Sets:      []work.Set{nets("new", "10.0.0.4")},
				Members:   []work.SetEdit{{ID: "web", Add: []string{"10.0.0.5"}, Remove: []string{"10.0.0.3"}}},
				Programs:  []work.Program{db("web", "new"), posture("next", nil, tier(allow(6, ""), allow(17, "")))},
				Endpoints: []work.Endpoint{endpoint("mover", "10.0.0.4", "next")},
				Routes:    []work.Route{{Prefix: netip.MustParsePrefix("10.0.8.0/24")}},
				Delete:    &work.Deletions{Programs: []string{"past"}, Sets: []string{"old"}, Routes: []netip.Prefix{block}},
			}
			back := old
			back.Members = nil
			back.Delete = &work.Deletions{Programs: []string{"next"}, Sets: []string{"new"}, Routes: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}}
			l.must(old)
			server := l.run("db", "10.0.0.2", "db")
			server.Serve("tcp", "10.0.0.2:5432")
			web, batch := l.run("web", "10.0.0.1", "out"), l.run("batch", "10.0.0.3", "out")
			mover := l.container("mover")
			mover.mustAdd()
			stays := []net.Conn{web.hold("tcp", "10.0.0.2:5432"), mover.hold("tcp", "10.0.0.2:5432")}
			l.must(change)
			want := kernel(t, backend)
			for _, where := range []string{
				"item on disk", "endpoints ended", "sets made", "members added", "rules written", "endpoints moved", "routes put",
				"routes gone", "members gone", "rules gone", "sets gone",
			} {
				l.must(back)
				denied := batch.hold("tcp", "10.0.0.2:5432")
				l.dies(where, func() { l.post(change) })
				awaitSynced(t, l, server)
				if d := cmp.Diff(want, kernel(t, backend)); d != "" {
					t.Errorf("killed with %s, and without a controller:\n%s", where, d)
				}
				eventually(t, "the cut of what is denied", func() bool { return netlab.Echo(denied, netlab.Wait) != nil })
				for i, c := range stays {
					if err := netlab.Echo(c, 5*time.Second); err != nil {
						t.Fatalf("killed with %s: the connection %d that was allowed all along: %v", where, i, err)
					}
				}
				batch.blocked("tcp", "10.0.0.2:5432")
				mover.reaches("tcp", "10.0.0.2:5432")
				l.snapshot()
				if d := cmp.Diff(want, kernel(t, backend)); d != "" {
					t.Errorf("killed with %s, after the snapshot:\n%s", where, d)
				}
			}
		})
	}
}

// The agent is killed while one posture takes the place of another, before and
// after the endpoints' numbers have become the new one's.
func TestKilledWhileAPostureIsReplaced(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = backend })
			db := func(i int, sets ...string) work.Program {
				p := posture(fmt.Sprint("db", i), tier(), nil)
				for _, s := range sets {
					p.Ingress[0].Rules = append(p.Ingress[0].Rules, allow(6, s, 5432))
				}
				return p
			}
			l.must(work.Item{
				Sets:     []work.Set{nets("web", "10.0.0.1"), nets("old", "10.0.0.3"), nets("new", "10.0.0.4")},
				Programs: []work.Program{db(0, "web", "old"), posture("out", nil, tier(allow(0, "")))},
			})
			server := l.run("db", "10.0.0.2", "db0")
			server.Serve("tcp", "10.0.0.2:5432")
			web, old, young := l.run("web", "10.0.0.1", "out"), l.run("old", "10.0.0.3", "out"), l.run("young", "10.0.0.4", "out")
			stays := web.hold("tcp", "10.0.0.2:5432")
			replace := func(i int, sets ...string) work.Item {
				return work.Item{
					Programs: []work.Program{db(i, sets...)}, Endpoints: []work.Endpoint{endpoint("db", "10.0.0.2", fmt.Sprint("db", i))},
					Delete: &work.Deletions{Programs: []string{fmt.Sprint("db", i-1)}},
				}
			}
			for i, where := range []string{"members added", "rules written", "endpoints moved", "rules gone"} {
				denied := old.hold("tcp", "10.0.0.2:5432")
				l.dies(where, func() { l.post(replace(2*i+1, "web", "new")) })
				awaitSynced(t, l, server)
				eventually(t, "the cut of what is denied", func() bool { return netlab.Echo(denied, netlab.Wait) != nil })
				if err := netlab.Echo(stays, 5*time.Second); err != nil {
					t.Fatalf("killed with %s: the connection that was allowed all along: %v", where, err)
				}
				old.blocked("tcp", "10.0.0.2:5432")
				young.reaches("tcp", "10.0.0.2:5432")
				l.snapshot()
				l.must(replace(2*i+2, "web", "old"))
				young.blocked("tcp", "10.0.0.2:5432")
			}
		})
	}
}
