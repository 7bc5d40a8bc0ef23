package conntrack_test

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func open(t *testing.T) *conntrack.Conn {
	t.Helper()
	tool(t, "-F")
	for _, args := range []string{
		"-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED",
		"-p udp -s 10.0.0.3 -d 10.0.0.1 --sport 1001 --dport 53",
		"-p icmp -s 10.0.0.1 -d 10.0.0.3 --icmp-type 8 --icmp-code 0 --icmp-id 7",
		"-p tcp -s 10.0.0.2 -d 10.0.0.3 --sport 1000 --dport 80 --state ESTABLISHED",
		"-p tcp -s 10.0.0.4 -d 192.0.2.1 --sport 1000 --dport 80 --state ESTABLISHED --dst-nat 10.0.0.1", // translated to 10.0.0.1
	} {
		tool(t, append([]string{"-I", "-t", "600"}, strings.Fields(args)...)...)
	}
	c, err := conntrack.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("conntrack", args...).CombinedOutput(); err != nil {
		t.Fatalf("conntrack %v: %v: %s", args, err, out)
	}
}

func list(t *testing.T, c *conntrack.Conn, of ...netip.Addr) []string {
	t.Helper()
	flows, err := c.Flows(of...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range flows {
		out = append(out, f.String())
	}
	slices.Sort(out)
	return out
}

var one = netip.MustParseAddr("10.0.0.1")

var (
	ofOne = []string{
		"17 10.0.0.3:1001 -> 10.0.0.1:53",
		"6 10.0.0.1:1000 -> 10.0.0.2:80",
		"6 10.0.0.4:1000 -> 10.0.0.1:80",
		"icmp 10.0.0.1 -> 10.0.0.3 type 8",
	}
	others = []string{"6 10.0.0.2:1000 -> 10.0.0.3:80"}
)

// The kernel picks out the connections that an address has a part in,
// whichever end it is, also behind a translated address.
func TestFlows(t *testing.T) {
	c := open(t)
	if got := list(t, c, one); !slices.Equal(got, ofOne) {
		t.Errorf("of %s: %q", one, got)
	}
	if got := list(t, c); len(got) != 5 {
		t.Errorf("all: %q", got)
	}
}

func TestForget(t *testing.T) {
	c := open(t)
	if err := c.Forget(one); err != nil {
		t.Fatal(err)
	}
	if got := list(t, c); !slices.Equal(got, others) {
		t.Errorf("left over: %q", got)
	}
}

// Just the connections named are cut; one that ended by itself is no error.
func TestCut(t *testing.T) {
	c := open(t)
	flows, err := c.Flows(one)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{4, 0} {
		if n, err := c.Cut(flows); err != nil || n != want {
			t.Errorf("cut %d, %v; want %d", n, err, want)
		}
	}
	if got := list(t, c); !slices.Equal(got, others) {
		t.Errorf("left over: %q", got)
	}
}

// A connection that others track in a zone of their own (iptables -j CT --zone)
// is one as well: it is found, cut and forgotten.
func TestZones(t *testing.T) {
	track := []string{"-I", "-t", "600", "-w", "5", "-p", "tcp", "-s", "10.0.0.1", "-d", "10.0.0.2", "--sport", "1000", "--dport", "80", "--state", "ESTABLISHED"}
	for name, remove := range map[string]func(*conntrack.Conn) error{
		"cut": func(c *conntrack.Conn) error {
			flows, err := c.Flows(one)
			if err == nil {
				_, err = c.Cut(flows)
			}
			return err
		},
		"forget": func(c *conntrack.Conn) error { return c.Forget(one) },
		"forget many": func(c *conntrack.Conn) error {
			return c.Forget(one, netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			tool(t, track...)
			if got := list(t, c, one); len(got) != len(ofOne)+1 {
				t.Fatalf("of %s: %q", one, got)
			}
			if err := remove(c); err != nil {
				t.Fatal(err)
			}
			if got := list(t, c); !slices.Equal(got, others) {
				t.Errorf("left over: %q", got)
			}
		})
	}
}
