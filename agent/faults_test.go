package agent_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// broken puts an iptables-restore in front of the true ones that does what the
// script says while it is broken, as it is at first.
func broken(t *testing.T, script string) (set func(broken bool)) {
	t.Helper()
	dir := t.TempDir()
	flag := filepath.Join(dir, "broken")
	for _, name := range []string{"iptables-nft-restore", "ip6tables-nft-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("FLAG", flag, "SCRIPT", script, "TRUE", path).Replace("#!/bin/sh\nif [ -e FLAG ]; then SCRIPT; fi\nexec TRUE \"$@\"\n")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	set = func(broken bool) {
		err := os.Remove(flag)
		if broken {
			err = os.WriteFile(flag, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(true)
	return set
}

// A host whose rules the kernel does not take, as one that lacks a module, is
// open: no task is attached to it, and the answer says why. Once it takes them, tasks are.
func TestNoAttachWithoutRules(t *testing.T) {
	set := broken(t, `echo "Warning: Extension set revision 0 not supported, missing kernel module?" >&2; exit 2`)
	l := newBareLab(t, func(c *agent.Config) { c.Backend, c.CheckEvery = "nft", 100*time.Millisecond })
	got := l.send(work.Item{
		Rev: 1, Snapshot: true, Programs: []work.Program{posture("idle", nil, nil)},
		Endpoints: []work.Endpoint{endpoint("web", "10.0.0.1", "idle")},
	})
	if len(got.Failed) == 0 {
		t.Error("the report says nothing of it")
	}
	web := l.container("web")
	out, exit := web.add()
	if exit == 0 || !strings.Contains(out, "missing kernel module") {
		t.Errorf("ADD on a host without rules: %d %s", exit, out)
	}
	set(false)
	web.mustAdd()
	web.blocked("tcp", "10.0.0.2:80")
	if out, err := exec.CommandContext(context.Background(), "iptables-nft", "-S").CombinedOutput(); err != nil || !strings.Contains(string(out), "-j tw-forward") {
		t.Errorf("the rules: %v\n%s", err, out)
	}
}

// ADD returns when the task's own policies are in the kernel: when others keep
// the rules from being written it waits for that, though all else is in force.
func TestAddWaitsForItsPolicies(t *testing.T) {
	set := broken(t, "echo 'Another app is currently holding the xtables lock.' >&2; exit 4")
	set(false)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.WaitTimeout = "nft", 15*time.Second })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	l.run("db", "10.0.0.9", "open").Serve("tcp", "10.0.0.9:80")
	set(true)
	got := l.send(work.Item{Programs: []work.Program{posture("web", nil, tier(allow(6, "", 80)))}, Endpoints: []work.Endpoint{endpoint("web", "10.0.0.1", "web")}})
	if len(got.Failed) == 0 {
		t.Error("the report says nothing of it")
	}
	web := l.container("web")
	added := make(chan string, 1)
	go func() {
		out, exit := web.add()
		if exit == 0 {
			out = ""
		}
		added <- out
	}()
	l.troubled("holding the xtables lock", true) // the check has found the same
	select {
	case out := <-added:
		t.Fatalf("ADD did not wait: %s", out)
	default:
	}
	set(false)
	if out := <-added; out != "" {
		t.Fatalf("ADD: %s", out)
	}
	web.reaches("tcp", "10.0.0.9:80")
	l.troubled("xtables", false)
}

// Another program has the xtables lock for a while: the item that needs it
// waits, tasks come and go meanwhile, and nothing fails.
func TestXtablesLockHeldByAnother(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "xtables.lock")
	t.Setenv("XTABLES_LOCKFILE", lock)
	f, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := newLab(t, func(c *agent.Config) { c.Backend = "legacy" })
	l.must(work.Item{
		Programs:  []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))},
		Endpoints: []work.Endpoint{endpoint("late", "10.0.0.2", "open")},
	})
	db := l.run("db", "10.0.0.9", "open")
	db.Serve("tcp", "10.0.0.9:80")
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	l.post(work.Item{Programs: []work.Program{posture("web", nil, tier(allow(6, "", 80)))}, Endpoints: []work.Endpoint{endpoint("web", "10.0.0.1", "web")}})
	late := l.container("late")
	late.mustAdd()
	late.reaches("tcp", "10.0.0.9:80")
	late.del()
	web := l.container("web")
	if out, exit := web.add(); exit == 0 {
		t.Errorf("ADD before the task's rules could be written: %s", out)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	r := l.await("the item", func(r work.Report) bool { return r.Applied != nil && r.Applied.Rev == l.rev })
	if len(r.Applied.Failed) > 0 {
		t.Errorf("it failed: %v", r.Applied.Failed)
	}
	web.mustAdd()
	web.reaches("tcp", "10.0.0.9:80")
}
