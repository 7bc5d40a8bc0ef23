package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// disk gives the state directory a file system of its own.
func disk(t *testing.T, size string) func(*agent.Config) {
	return func(c *agent.Config) {
		if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", c.StateDir, "tmpfs", 0, "mode=700,size="+size); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(c.StateDir, unix.MNT_DETACH) })
	}
}

// fill takes all the room that is left in a directory.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// A full disk keeps nothing from the kernel, and
// never has a later process go back to what is older than the kernel. When there
// is room again all is as ever.
func TestDiskFull(t *testing.T) {
	l := newLab(t, inProcess, disk(t, "256k"), func(c *agent.Config) { c.Backend, c.CheckEvery = "nft", 100*time.Millisecond })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
	old := l.run("old", "10.0.0.3", "open")
	a.Serve("tcp", "10.0.0.1:80")
	free := fill(t, l.cfg.StateDir)

	many := make([]string, 3000) // more than the old picture takes
	for i := range many {
		many[i] = "10.9." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250)
	}
	if a := l.send(work.Item{
		Sets:      []work.Set{nets("many", many...)},
		Programs:  []work.Program{posture("shut", nil, nil), posture("few", tier(allow(0, "many")), nil)},
		Endpoints: []work.Endpoint{endpoint("b", "10.0.0.2", "shut"), endpoint("late", "10.0.0.4", "open")},
	}); len(a.Failed) > 0 {
		t.Fatalf("not applied: %v", a.Failed)
	}
	b.blocked("tcp", "10.0.0.1:80")
	late := l.container("late")
	old.gone()
	before := kernel(t, "nft")

	l.kill()
	l.start() // no controller, and no room
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Errorf("a start with a full disk changed the kernel:\n%s", d)
	}
	b.blocked("tcp", "10.0.0.1:80")
	if a := l.send(*l.wanted.Item(l.cfg.Host)); len(a.Failed) > 0 {
		t.Fatalf("not applied: %v", a.Failed)
	}
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Errorf("the controller's picture on a full disk:\n%s", d)
	}
	b.blocked("tcp", "10.0.0.1:80")

	free()
	eventually(t, "the picture on disk", func() bool {
		b, err := os.ReadFile(filepath.Join(l.cfg.StateDir, "picture.json"))
		return err == nil && bytes.Contains(b, []byte(`"many"`))
	})
	late.mustAdd()
	late.reaches("tcp", "10.0.0.1:80")
	before = kernel(t, "nft")
	l.kill()
	l.start()
	late.reaches("tcp", "10.0.0.1:80")
	b.blocked("tcp", "10.0.0.1:80")
	awaitSynced(t, l, a)
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Errorf("after the disk had room again:\n%s", d)
	}
}

// What is on disk and cannot be trusted, or not read, is left alone: the kernel
// stays as it is until the controller's picture comes, and then all is right.
func TestDiskDamaged(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"picture cut short": func(t *testing.T, dir string) { cutShort(t, filepath.Join(dir, "picture.json")) },
		"items cut inside": func(t *testing.T, dir string) {
			name := filepath.Join(dir, "items.jsonl")
			b, err := os.ReadFile(name)
			if err != nil || bytes.Count(b, []byte("\n")) < 3 {
				t.Fatalf("the items are %q, %v", b, err)
			}
			first, rest, _ := bytes.Cut(b, []byte("\n"))
			if err := os.WriteFile(name, append(append(first[:len(first)/2:len(first)/2], '\n'), rest...), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"items are a directory": func(t *testing.T, dir string) {
			name := filepath.Join(dir, "items.jsonl")
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(name, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"attachments cut short": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "attachments", "*.json"))
			if err != nil || len(files) != 2 {
				t.Fatalf("attachments: %v, %v", files, err)
			}
			for _, f := range files {
				cutShort(t, f)
			}
		},
		"read-only": func(t *testing.T, dir string) {
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend = "nft" })
			l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
			a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
			a.Serve("tcp", "10.0.0.1:80")
			b.reaches("tcp", "10.0.0.1:80")
			before := kernel(t, "nft")
			l.kill()
			harm(t, l.cfg.StateDir)
			l.start()
			if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
				t.Errorf("before the controller's picture:\n%s", d)
			}
			b.reaches("tcp", "10.0.0.1:80")
			l.snapshot()
			if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
				t.Errorf("after the controller's picture:\n%s", d)
			}
			b.reaches("tcp", "10.0.0.1:80")
			l.must(work.Item{Programs: []work.Program{posture("open", nil, nil)}})
			b.blocked("tcp", "10.0.0.1:80")
		})
	}
}

// DEL on a disk that is read-only leaves nothing in the kernel.
func TestDelOnReadOnlyDisk(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	a := l.run("a", "10.0.0.1", "open")
	dir := filepath.Join(l.cfg.StateDir, "attachments")
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	a.del()
	if left := kernel(t, "nft"); strings.Contains(left, "10.0.0.1") || strings.Contains(left, a.veth()+":") {
		t.Errorf("left in the kernel:\n%s", left)
	}
}

func cutShort(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The items on disk are taken into the picture before they grow without bound, and
// the picture with the items since is the whole of it; one that was cut short at the
// end never came to the kernel.
func TestItemsOnDiskAreBounded(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	many := make([]string, 3000)
	for i := range many {
		many[i] = "10.9." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250)
	}
	written := 0
	for i := range 60 {
		set := nets("many", many[i:]...)
		if a := l.send(work.Item{Sets: []work.Set{set}}); len(a.Failed) > 0 {
			t.Fatalf("not applied: %v", a.Failed)
		}
		written += 10 * len(set.Members)
		if st, err := os.Stat(filepath.Join(l.cfg.StateDir, "items.jsonl")); err != nil || st.Size() > 3<<19 {
			t.Fatalf("after %d items: %d bytes, %v", i+1, st.Size(), err)
		}
	}
	if written < 3<<19 {
		t.Fatal("too little was written to show anything")
	}
	before := kernel(t, "nft")
	l.stop()
	items, err := os.OpenFile(filepath.Join(l.cfg.StateDir, "items.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer items.Close()
	if _, err := items.WriteString(`{"host":"h1","rev":`); err != nil { // one that was being written in the end
		t.Fatal(err)
	}
	run(t, "ipset", "flush", "tw-s-many")
	l.start() // no controller
	l.sign("of the state on disk", func(a work.Alive) bool { return a.Rev == l.rev })
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Errorf("the picture on disk is another:\n%s", d)
	}
}
