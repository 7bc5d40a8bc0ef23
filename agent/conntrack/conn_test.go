package conntrack_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// Only the connections that the address has a part in go, whichever end it was.
func TestForget(t *testing.T) {
	add := func(src, dst string) {
		t.Helper()
		out, err := exec.Command("conntrack", "-I", "-p", "tcp", "-s", src, "-d", dst, "--sport", "1000", "--dport", "80",
			"-t", "600", "--state", "ESTABLISHED").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	add("10.0.0.1", "10.0.0.2")
	add("10.0.0.3", "10.0.0.1")
	add("10.0.0.2", "10.0.0.3")
	c, err := conntrack.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Forget(netip.MustParseAddr("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("conntrack", "-L").Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := string(out); strings.Contains(s, "10.0.0.1") || strings.Count(s, "src=10.0.0.2") != 1 {
		t.Errorf("left over:\n%s", s)
	}
}
