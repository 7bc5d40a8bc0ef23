package netns_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
)

func fabric(t *testing.T, prefix string) *netns.Fabric {
	t.Helper()
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
	return f
}

func TestHostsReachEachOther(t *testing.T) {
	f := fabric(t, "twna")
	a, err := f.Host("a", "192.168.70.11/24")
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := f.Host("legacy", "192.168.70.12/24", "10.9.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Route("10.9.0.0/24", legacy.IP.String()); err != nil {
		t.Fatal(err)
	}
	l, err := legacy.Listen("tcp", "0.0.0.0:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, addr := range []string{"192.168.70.12:80", "10.9.0.1:80"} {
		c, err := a.DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil || !strings.HasPrefix(string(b), "192.168.70.11:") {
			t.Errorf("%s saw %q, %v", addr, b, err)
		}
	}

	cmd := a.Command(ctx, "ip", "-o", "-4", "addr", "show", "eth0")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "192.168.70.11/24") {
		t.Errorf("in the host: %q, %v", out.String(), err)
	}
	// People can look inside by name.
	b, err := exec.Command("ip", "netns", "exec", "twna-a", "cat", "/proc/sys/net/ipv4/ip_forward").Output()
	if err != nil || strings.TrimSpace(string(b)) != "1" {
		t.Errorf("forwarding: %q, %v", b, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	const prefix = "twnb"
	f, err := netns.New(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Host("a", "192.168.71.11/24"); err != nil {
		t.Fatal(err)
	}
	if left := netns.Leftovers(prefix); len(left) != 2 {
		t.Errorf("while open: %v", left)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := netns.Leftovers(prefix); len(left) != 0 {
		t.Errorf("after Close: %v", left)
	}
	if _, err := f.Host("b", "192.168.71.12/24"); !errors.Is(err, netns.ErrClosed) {
		t.Errorf("Host after Close: %v", err)
	}
}

func TestDoReturnsHome(t *testing.T) {
	f := fabric(t, "twnc")
	h, err := f.Host("a", "192.168.72.11/24")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	sentinel := errors.New("mine")
	err = h.Do(func() error {
		inside, _ = os.Readlink("/proc/thread-self/ns/net")
		return sentinel
	})
	if !errors.Is(err, sentinel) || inside == own || inside == "" {
		t.Errorf("inside %q, outside %q, %v", inside, own, err)
	}
	for range 20 { // whatever thread runs this, it is at home
		if now, _ := os.Readlink("/proc/thread-self/ns/net"); now != own {
			t.Fatalf("a thread stayed in %s", now)
		}
	}
	if err := netns.Do("/run/netns/twnc-nothing", func() error { return nil }); err == nil {
		t.Error("an unknown namespace was entered")
	}
}

// TestACutSegmentLosesFrames: silently, and only on that segment.
func TestACutSegmentLosesFrames(t *testing.T) {
	f := fabric(t, "twnc")
	if err := f.Segment("direct"); err != nil {
		t.Fatal(err)
	}
	var hosts []*netns.Host
	for i, name := range []string{"a", "b"} {
		h, err := f.Host(name, []string{"192.168.70.11/24", "192.168.70.12/24"}[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Join("direct", "direct0", []string{"10.0.0.1/30", "10.0.0.2/30"}[i]); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	l, err := hosts[1].Listen("tcp", "0.0.0.0:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reach := func(address string, within time.Duration) bool {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		c, err := hosts[0].DialContext(ctx, "tcp", address+":80")
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	const patience = 20 * time.Second // a busy machine may lose the first packets
	if !reach("10.0.0.2", patience) || !reach("192.168.70.12", patience) {
		t.Fatal("the segments don't work")
	}
	if err := f.Cut("direct"); err != nil {
		t.Fatal(err)
	}
	if reach("10.0.0.2", time.Second) || !reach("192.168.70.12", patience) {
		t.Error("the cut is not of the one segment")
	}
	if err := f.Mend("direct"); err != nil {
		t.Fatal(err)
	}
	if !reach("10.0.0.2", patience) {
		t.Error("it stays cut")
	}
}
