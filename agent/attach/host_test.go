package attach_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func open(t *testing.T) *attach.Host {
	t.Helper()
	h, err := attach.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func spec(ns *netlab.Namespace) attach.Spec {
	return attach.Spec{Veth: attach.Name("fw/a", "taskwall"), Namespace: ns.Path, Iface: "eth0", Address: netip.MustParseAddr("10.0.0.1"), MTU: 1400}
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

// enterAttach is Attach of a namespace that is entered for it.
func enterAttach(h *attach.Host, s attach.Spec) error {
	in, err := attach.Enter(s.Namespace)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := h.Attach(s, in); err != nil {
		return err
	}
	return h.LeadOut(s, in)
}

// The task has its address, one way out by the link-local gateway, and its
// neighbour's hardware address before it asks.
func TestAttach(t *testing.T) {
	h, ns := open(t), netlab.New(t)
	s := spec(ns)
	for range 2 { // a second time replaces the first, as after a kill half way
		if err := enterAttach(h, s); err != nil {
			t.Fatal(err)
		}
	}
	var inside string
	ns.Do(func() error {
		inside = ip(t, "addr", "show", "eth0") + ip(t, "route") + ip(t, "neigh")
		off, err := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
		if err != nil || string(off) != "1\n" {
			t.Errorf("IPv6 is on in the task's namespace: %q, %v", off, err)
		}
		return nil
	})
	for _, want := range []string{"mtu 1400", "inet 10.0.0.1/32", "default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link", "169.254.1.1 dev eth0 lladdr 02:74:77:00:00:01 PERMANENT"} {
		if !strings.Contains(inside, want) {
			t.Errorf("no %q in the task's namespace:\n%s", want, inside)
		}
	}
	if strings.Contains(inside, "inet6") {
		t.Errorf("IPv6 in the task's namespace:\n%s", inside)
	}
	outside := ip(t, "route") + ip(t, "neigh")
	for _, want := range []string{"10.0.0.1 dev " + s.Veth + " proto 84 scope link", "10.0.0.1 dev " + s.Veth + " lladdr 02:74:0a:00:00:01 PERMANENT"} {
		if !strings.Contains(outside, want) {
			t.Errorf("no %q on the host:\n%s", want, outside)
		}
	}
	if err := errors.Join(h.Check(s), h.CheckTask(s)); err != nil {
		t.Error(err)
	}
	if names, err := h.Interfaces(); err != nil || len(names) != 1 || names[0] != s.Veth {
		t.Errorf("interfaces: %v, %v", names, err)
	}
	for range 2 {
		if err := h.Detach(s.Veth); err != nil {
			t.Fatal(err)
		}
	}
	if left := ip(t, "-o", "link") + ip(t, "route"); strings.Contains(left, s.Veth) {
		t.Errorf("left: %s", left)
	}
}

// The host's own namespace is no task's, by whatever path: an interface there would
// give the host the task's address, outside of the firewall.
func TestTheHostsOwnNamespaceIsRefused(t *testing.T) {
	h := open(t)
	bound := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(bound, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(bound, unix.MNT_DETACH) })
	for _, path := range []string{"/proc/self/ns/net", fmt.Sprintf("/proc/%d/task/../ns/net", os.Getpid()), bound} {
		s := spec(netlab.New(t))
		s.Namespace = path
		if err := enterAttach(h, s); !errors.Is(err, attach.ErrHost) {
			t.Errorf("%s: %v", path, err)
		}
		s.Iface = "lo"
		if err := h.CheckTask(s); !errors.Is(err, attach.ErrHost) || !errors.Is(err, attach.ErrDiffers) {
			t.Errorf("checking %s: %v", path, err)
		}
	}
	if left := ip(t, "-o", "link") + ip(t, "-o", "addr"); strings.Contains(left, "tw") || strings.Contains(left, "10.0.0.1") {
		t.Errorf("left: %s", left)
	}
}

// The inner name of an interface is found from outside, whatever it is.
func TestInner(t *testing.T) {
	h := open(t)
	for i, name := range []string{"eth0", "eth1", "net-with.a_name"} {
		s := spec(netlab.New(t))
		s.Veth, s.Iface = attach.Name(fmt.Sprint("fw/", i), "taskwall"), name
		if err := enterAttach(h, s); err != nil {
			t.Fatal(err)
		}
		defer h.Detach(s.Veth)
		if got, err := h.Inner(s.Veth); err != nil || got != name {
			t.Errorf("%s is found as %q, %v", name, got, err)
		}
	}
	if name, err := h.Inner("twnotthere"); err == nil {
		t.Errorf("an interface that is not there has the other end %q", name)
	}
	ip(t, "link", "add", "twhere", "type", "veth", "peer", "name", "here")
	defer h.Detach("twhere")
	if name, err := h.Inner("twhere"); !errors.Is(err, attach.ErrDiffers) {
		t.Errorf("with both ends here it is %q, %v", name, err)
	}
}

// Each network of a task keeps its own routes, in whatever order the networks are
// attached and led out, and eth0 has the default.
func TestSecondNetwork(t *testing.T) {
	for _, order := range []string{"AaBb", "BbAa", "ABab", "ABba", "BAab", "BAba"} { // capitals attach
		t.Run(order, func(t *testing.T) {
			h, ns := open(t), netlab.New(t)
			first, second := spec(ns), spec(ns)
			second.Veth, second.Iface, second.Address = attach.Name("fw/a", "other"), "eth1", netip.MustParseAddr("10.0.0.2")
			specs, ins := map[rune]attach.Spec{'a': first, 'b': second}, map[rune]*attach.Inside{}
			for _, turn := range order {
				which := unicode.ToLower(turn)
				if turn == which {
					if err := h.LeadOut(specs[which], ins[which]); err != nil {
						t.Errorf("%s: %v", specs[which].Iface, err)
					}
					continue
				}
				in, err := attach.Enter(ns.Path)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				ins[which] = in
				if err := h.Attach(specs[which], in); err != nil {
					t.Fatal(err)
				}
				defer h.Detach(specs[which].Veth)
			}
			ns.Do(func() error {
				for _, to := range []string{"8.8.8.8", attach.Gateway.String()} {
					if out := ip(t, "route", "get", to); !strings.Contains(out, "dev eth0") {
						t.Errorf("the way to %s moved: %s", to, out)
					}
				}
				if out := ip(t, "route", "get", "8.8.8.8", "from", "10.0.0.2"); !strings.Contains(out, "dev eth1") {
					t.Errorf("the second network's way out: %s", out)
				}
				return nil
			})
			for _, s := range specs {
				if err := errors.Join(h.Check(s), h.CheckTask(s)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What the task's side lacks is found.
func TestCheckTask(t *testing.T) {
	h, ns := open(t), netlab.New(t)
	first, second := spec(ns), spec(ns)
	second.Veth, second.Iface, second.Address = attach.Name("fw/a", "other"), "eth1", netip.MustParseAddr("10.0.0.2")
	defer h.Detach(first.Veth, second.Veth)
	for _, tt := range []struct {
		harm    string
		first   bool // the first network is harmed, the second otherwise
		address bool // the address is still there
	}{
		{"route del default dev eth0", true, true},
		{"link set eth0 down", true, true},
		{"addr flush dev eth0", true, false},
		{"link del eth0", true, false},
		{"route del default dev eth1", false, true},
		{"route flush table all dev eth1 via 169.254.1.1", false, true},
	} {
		for _, s := range []attach.Spec{first, second} {
			if err := enterAttach(h, s); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(h.CheckTask(s), h.HasAddress(s)); err != nil {
				t.Fatalf("before %s: %v", tt.harm, err)
			}
		}
		ns.Do(func() error { ip(t, strings.Fields(tt.harm)...); return nil })
		for _, s := range []attach.Spec{first, second} {
			harmed := (s == first) == tt.first
			if err := h.CheckTask(s); errors.Is(err, attach.ErrDiffers) != harmed {
				t.Errorf("%s: %s: %v", tt.harm, s.Iface, err)
			}
			if err := h.HasAddress(s); (err != nil) != (harmed && !tt.address) {
				t.Errorf("%s: the address of %s: %v", tt.harm, s.Iface, err)
			}
		}
	}
}

// The host's side is mended whether or not the task keeps its own side down: no
// task holds up what is done for the others.
func TestMend(t *testing.T) {
	for i, harm := range []string{"link set VETH down", "route del 10.0.0.1", "link set VETH down", "route del 10.0.0.1"} {
		h, ns := open(t), netlab.New(t)
		s := spec(ns)
		if err := enterAttach(h, s); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			ns.Do(func() error { ip(t, "link", "set", s.Iface, "down"); return nil })
		}
		ip(t, strings.Fields(strings.ReplaceAll(harm, "VETH", s.Veth))...)
		if err := h.Check(s); !errors.Is(err, attach.ErrDiffers) {
			t.Errorf("%s: %v", harm, err)
		}
		if err := h.Mend(s); err != nil {
			t.Error(err)
		}
		if err := h.Check(s); err != nil {
			t.Errorf("%s: not mended: %v", harm, err)
		}
		if err := h.Detach(s.Veth); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Check(s), nil); !errors.Is(err, attach.ErrDiffers) {
			t.Errorf("an interface that is gone: %v", err)
		}
		if err := h.Mend(s); !errors.Is(err, attach.ErrDiffers) {
			t.Errorf("mending what is gone: %v", err)
		}
	}
}

func TestAttachFailsWhole(t *testing.T) {
	h, ns := open(t), netlab.New(t)
	gone := spec(ns)
	gone.Namespace = "/run/netlab/none"
	if err := enterAttach(h, gone); !errors.Is(err, attach.ErrNamespace) {
		t.Errorf("no namespace: %v", err)
	}
	taken := spec(ns)
	taken.Iface = "lo"
	if err := enterAttach(h, taken); err == nil {
		t.Error("a name that is taken in the namespace was used")
	}
	if left := ip(t, "-o", "link"); strings.Contains(left, gone.Veth) {
		t.Errorf("left: %s", left)
	}
}

// Names fit an interface and tell networks of one task apart.
func TestName(t *testing.T) {
	a, b := attach.Name("fw/a", "x"), attach.Name("fw/a", "y")
	if a == b || len(a) != 13 || a != attach.Name("fw/a", "x") || !strings.HasPrefix(a, "tw") {
		t.Errorf("%s, %s", a, b)
	}
}

// What a task could use against its host is closed, also when somebody opened
// it and a mend follows.
func TestHostSideIsClosed(t *testing.T) {
	h, ns := open(t), netlab.New(t)
	s := spec(ns)
	if err := enterAttach(h, s); err != nil {
		t.Fatal(err)
	}
	defer h.Detach(s.Veth)
	settings := map[string]string{
		"ipv6/conf/%s/disable_ipv6":        "1",
		"ipv4/conf/%s/forwarding":          "1",
		"ipv4/conf/%s/rp_filter":           "1",
		"ipv4/conf/%s/proxy_arp":           "0",
		"ipv4/conf/%s/accept_redirects":    "0",
		"ipv4/conf/%s/send_redirects":      "0",
		"ipv4/conf/%s/accept_source_route": "0",
	}
	look := func(when string) {
		t.Helper()
		for path, want := range settings {
			got, err := os.ReadFile(fmt.Sprintf("/proc/sys/net/"+path, s.Veth))
			if err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: %s is %q, want %s (%v)", when, path, got, want, err)
			}
		}
	}
	look("attached")
	if err := h.Check(s); err != nil {
		t.Error(err)
	}
	for path, want := range settings {
		other := map[string]string{"0": "1", "1": "0"}[want]
		if err := os.WriteFile(fmt.Sprintf("/proc/sys/net/"+path, s.Veth), []byte(other), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Check(s); !errors.Is(err, attach.ErrDiffers) {
		t.Errorf("with all settings changed: %v", err)
	}
	if err := h.Mend(s); err != nil {
		t.Fatal(err)
	}
	look("mended")
	for path, want := range settings { // each by itself
		file := fmt.Sprintf("/proc/sys/net/"+path, s.Veth)
		values := map[string]bool{map[string]string{"0": "1", "1": "0"}[want]: true, want: false}
		if strings.Contains(path, "rp_filter") {
			values["2"] = false // as systemd sets it on each new interface
		}
		for value, differs := range values {
			if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := h.Check(s); errors.Is(err, attach.ErrDiffers) != differs || !differs && err != nil {
				t.Errorf("%s is %s: %v", path, value, err)
			}
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	h, err := attach.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	for b.Loop() {
		b.StopTimer()
		ns := netlab.New(b)
		s := spec(ns)
		b.StartTimer()
		if err := enterAttach(h, s); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		h.Detach(s.Veth)
		ns.Remove()
		b.StartTimer()
	}
}

// Several are removed at once, those that are there, and no others.
func TestDetachMany(t *testing.T) {
	h := open(t)
	var veths []string
	for i := range 70 { // more than go to the kernel in one message
		s := spec(netlab.New(t))
		s.Veth, s.Address = attach.Name(fmt.Sprint("fw/", i), "taskwall"), netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
		if err := enterAttach(h, s); err != nil {
			t.Fatal(err)
		}
		veths = append(veths, s.Veth)
	}
	stays := veths[0]
	gone := append(veths[1:len(veths):len(veths)], "twnotthere")
	if err := h.Detach(gone...); err != nil {
		t.Fatal(err)
	}
	if left, err := h.Interfaces(); err != nil || len(left) != 1 || left[0] != stays {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := h.Detach(gone...); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := h.Detach(stays); err != nil {
		t.Error(err)
	}
}
