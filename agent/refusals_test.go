package agent_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// refused says that an ADD fails with the words, and gives no interface.
func (tk *task) refused(says string) {
	tk.l.t.Helper()
	out, exit := tk.add()
	if exit == 0 || !strings.Contains(out, says) {
		tk.l.t.Errorf("ADD: exit %d, %s; want a failure with %q", exit, out, says)
	}
	tk.Do(func() error {
		if _, err := net.InterfaceByName("eth0"); err == nil {
			tk.l.t.Error("it has an interface")
		}
		return nil
	})
}

// On a disk that cannot be written nothing new is attached, which says why;
// what runs goes on, and all is well once the disk is.
func TestDiskReadOnly(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
	a.Serve("tcp", "10.0.0.1:80")
	conn := b.hold("tcp", "10.0.0.1:80")
	dir := filepath.Join(l.cfg.StateDir, "attachments")
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("late", "10.0.0.3", "open")}})
	late := l.container("late")
	late.refused("read-only file system")
	b.reaches("tcp", "10.0.0.1:80")
	if err := netlab.Echo(conn, netlab.Wait); err != nil {
		t.Errorf("a connection broke: %v", err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	late.mustAdd()
	late.reaches("tcp", "10.0.0.1:80")
}
