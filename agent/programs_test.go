package agent_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

// restores counts the processes that write a backend's IPv4 rules. Call it before
// the agent starts.
func restores(t *testing.T, backend string) (count func() int) {
	t.Helper()
	dir := t.TempDir()
	name := "iptables-" + backend + "-restore"
	tool, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho >>"+log+"\nexec "+tool+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("\n"))
	}
}

// An item that brings programs and takes others away writes the rules once, also
// when endpoints have to go from one to the other, unless they part ways there.
func TestItemWritesRulesOnce(t *testing.T) {
	db := func(id, set string) work.Program { return posture(id, tier(allow(6, set, 5432)), nil) }
	all, out := []string{"10.0.0.1", "10.0.0.4"}, posture("out", nil, tier(allow(0, "")))
	for name, tc := range map[string]struct {
		item   work.Item
		writes int
		open   []string // the databases that clients reach afterwards
	}{
		"a posture gives way to a new one": {work.Item{
			Sets: []work.Set{nets("web2", all...)}, Programs: []work.Program{db("db2", "web2")},
			Endpoints: []work.Endpoint{endpoint("a", "10.0.0.2", "db2"), endpoint("b", "10.0.0.3", "db2")},
			Delete:    &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}},
		}, 1, []string{"10.0.0.2", "10.0.0.3"}},
		"a posture ends with its endpoints": {work.Item{
			Programs: []work.Program{posture("out", nil, tier(allow(6, ""), allow(17, "")))},
			Delete:   &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}, Endpoints: []string{"fw/a", "fw/b"}},
		}, 1, nil},
		"one endpoint ends, the other moves": {work.Item{
			Sets: []work.Set{nets("web2", all...)}, Programs: []work.Program{db("db2", "web2")},
			Endpoints: []work.Endpoint{endpoint("b", "10.0.0.3", "db2")},
			Delete:    &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}, Endpoints: []string{"fw/a"}},
		}, 1, []string{"10.0.0.3"}},
		"endpoints part ways": {work.Item{
			Sets: []work.Set{nets("web2", all...)}, Programs: []work.Program{db("db2", "web2"), db("db3", "web2")},
			Endpoints: []work.Endpoint{endpoint("a", "10.0.0.2", "db2"), endpoint("b", "10.0.0.3", "db3")},
			Delete:    &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}},
		}, 2, []string{"10.0.0.2", "10.0.0.3"}},
		"endpoints move to a posture that is there": {work.Item{
			Programs:  []work.Program{posture("more", nil, tier(allow(6, "")))},
			Endpoints: []work.Endpoint{endpoint("a", "10.0.0.2", "out"), endpoint("b", "10.0.0.3", "out")},
			Delete:    &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}},
		}, 2, nil},
		"the new one cannot be programmed": {work.Item{
			Programs:  []work.Program{posture("db2", tier(allow(6, "", 5432), allow(300, "")), nil)},
			Endpoints: []work.Endpoint{endpoint("a", "10.0.0.2", "db2"), endpoint("b", "10.0.0.3", "db2")},
			Delete:    &work.Deletions{Programs: []string{"db"}, Sets: []string{"web"}},
		}, 1, nil},
	} {
		for _, backend := range bothBackends {
			t.Run(name+"/"+backend, func(t *testing.T) {
				count := restores(t, backend)
				l := newLab(t, func(c *agent.Config) { c.Backend = backend })
				l.must(work.Item{Sets: []work.Set{nets("web", all...)}, Programs: []work.Program{db("db", "web"), out}})
				client := l.run("client", "10.0.0.4", "out")
				for id, addr := range map[string]string{"a": "10.0.0.2", "b": "10.0.0.3"} {
					l.run(id, addr, "db").Serve("tcp", addr+":5432")
					client.reaches("tcp", addr+":5432")
				}
				before := count()
				l.send(tc.item)
				if n := count() - before; n != tc.writes {
					t.Errorf("the rules were written %d times, want %d", n, tc.writes)
				}
				open := map[string]bool{}
				for _, addr := range tc.open {
					open[addr] = true
				}
				for _, addr := range []string{"10.0.0.2", "10.0.0.3"} {
					if open[addr] {
						client.reaches("tcp", addr+":5432")
					} else {
						client.blocked("tcp", addr+":5432")
					}
				}
				// The next process finds nothing to change.
				after := kernel(t, backend)
				l.stop()
				before = count()
				l.start()
				l.snapshot()
				if d := cmp.Diff(after, kernel(t, backend)); d != "" || count() != before {
					t.Errorf("a restart writes %d times:\n%s", count()-before, d)
				}
			})
		}
	}
}
