package probe_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/probe"
)

// TestVerdicts: a peer that answers, a closed port, dropped packets, and a held
// connection that is cut.
func TestVerdicts(t *testing.T) {
	const prefix = "twpa"
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "peer"), "../peer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := netns.New(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if left := netns.Leftovers(prefix); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	a, err := f.Host("a", "192.168.73.11/24")
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Host("b", "192.168.73.12/24")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	server := b.Command(ctx, filepath.Join(dir, "peer"), "--tcp", "80", "--udp", "53", "--name", "server-b")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Cancel(); _ = server.Wait() })
	ip := b.IP.String()
	for !probe.TCP(ctx, a.Path, ip, 80).Open() && ctx.Err() == nil {
	}
	for name, r := range map[string]probe.Result{"tcp": probe.TCP(ctx, a.Path, ip, 80), "udp": probe.UDP(ctx, a.Path, ip, 53)} {
		if !r.Open() || r.Name() != "server-b" || r.Source() != "192.168.73.11" {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := probe.TCP(ctx, a.Path, ip, 81); r.Verdict != probe.Refused || r.Took > probe.Timeout/2 {
		t.Errorf("closed port: %v", r)
	}
	if r := probe.UDP(ctx, a.Path, ip, 54); r.Verdict != probe.Refused {
		t.Errorf("closed UDP port: %v", r)
	}
	held, err := probe.Hold(ctx, a.Path, ip, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := held.Ping(); err != nil {
		t.Error(err)
	}
	if err := b.Command(ctx, "iptables", "-A", "INPUT", "-s", "192.168.73.11", "-j", "DROP").Run(); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	if r := probe.TCP(short, a.Path, ip, 80); r.Verdict != probe.Silence {
		t.Errorf("dropped: %v", r)
	}
	if err := held.Ping(); err == nil {
		t.Error("the held connection still carries data")
	}
	if r := probe.TCP(ctx, "/run/netns/"+prefix+"-none", ip, 80); r.Open() || r.Err == nil {
		t.Errorf("no such namespace: %v", r)
	}
}
