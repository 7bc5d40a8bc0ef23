package routes_test

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/routes"
	"github.com/taskwall/taskwall/events/work"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

func never(netip.Prefix) bool { return false }

func open(t *testing.T) *routes.Table {
	t.Helper()
	netlab.Join(t, "up0", "198.51.100.1/24", netlab.New(t), "up0", "198.51.100.2/24")
	tab, err := routes.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tab.Close()
		exec.Command("ip", "route", "flush", "proto", "84").Run()
	})
	return tab
}

// The table becomes what is wanted from whatever it was; what others have in
// it, and the routes to tasks, stay.
func TestSync(t *testing.T) {
	tab := open(t)
	ip(t, "route add 10.5.0.0/16 via 198.51.100.2 proto static")
	ip(t, "route add 10.0.0.7/32 dev up0 scope link proto 84")
	foreign := ip(t, "route show proto static") + ip(t, "route show 10.0.0.7")
	ip(t, "route add 10.6.0.0/24 via 198.51.100.2 proto 84")
	ip(t, "route add 10.0.1.0/24 via 198.51.100.3 proto 84")
	want := map[netip.Prefix]work.Route{
		prefix("10.0.0.0/24"): {Prefix: prefix("10.0.0.0/24")},
		prefix("10.0.1.0/24"): {Prefix: prefix("10.0.1.0/24"), Via: netip.MustParseAddr("198.51.100.2")},
	}
	drift, failures, err := tab.Sync(want, never)
	if err != nil || len(failures) > 0 || len(drift) != 3 {
		t.Fatalf("%q, %v, %v", drift, failures, err)
	}
	got := strings.ReplaceAll(ip(t, "route show proto 84"), " \n", "\n")
	if d := cmp.Diff("unreachable 10.0.0.0/24\n10.0.0.7 dev up0 scope link\n10.0.1.0/24 via 198.51.100.2 dev up0\n", got); d != "" {
		t.Error(d)
	}
	if now := ip(t, "route show proto static") + ip(t, "route show 10.0.0.7"); now != foreign {
		t.Errorf("what is not ours changed: %s", now)
	}
	if drift, _, err := tab.Sync(want, never); err != nil || len(drift) > 0 {
		t.Errorf("a second look finds %q, %v", drift, err)
	}
	for range 2 {
		for p := range want {
			if err := tab.Delete(p); err != nil {
				t.Error(err)
			}
		}
	}
	if got := ip(t, "route show proto 84"); strings.Count(got, "\n") != 1 {
		t.Errorf("left: %s", got)
	}
}

// A route that is not wanted any more stays while it is asked for, unless it is
// the host's own block: that would hide what replaces it.
func TestSyncLater(t *testing.T) {
	tab := open(t)
	ip(t, "route add 10.6.0.0/24 via 198.51.100.2 proto 84")
	ip(t, "route add unreachable 10.7.0.0/24 proto 84")
	drift, failures, err := tab.Sync(nil, func(p netip.Prefix) bool { return p == prefix("10.6.0.0/24") })
	if err != nil || len(failures) > 0 || len(drift) != 1 {
		t.Fatalf("%q, %v, %v", drift, failures, err)
	}
	if got := ip(t, "route show proto 84"); !strings.HasPrefix(got, "10.6.0.0/24") || strings.Contains(got, "10.7.0.0/24") {
		t.Errorf("left: %s", got)
	}
	if _, _, err := tab.Sync(nil, never); err != nil {
		t.Fatal(err)
	}
	if got := ip(t, "route show proto 84"); got != "" {
		t.Errorf("left: %s", got)
	}
}

// A route that would cut the host off is refused, whoever asks.
func TestRefused(t *testing.T) {
	tab := open(t)
	for _, p := range []string{"0.0.0.0/0", "198.51.100.0/24", "198.0.0.0/8", "192.0.2.1/32", "fd00::/64"} {
		if err := tab.Put(work.Route{Prefix: prefix(p)}); !errors.Is(err, routes.ErrRefused) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := tab.Put(work.Route{Prefix: prefix("10.0.9.0/24"), Via: netip.MustParseAddr("203.0.113.9")}); err == nil || errors.Is(err, routes.ErrRefused) {
		t.Errorf("a next hop that is not on the link: %v", err)
	}
}

// A route that cannot be set is a failure each time, and never said to be mended.
func TestSyncOfWhatCannotBe(t *testing.T) {
	tab := open(t)
	want := map[netip.Prefix]work.Route{
		prefix("10.0.9.0/24"): {Prefix: prefix("10.0.9.0/24"), Via: netip.MustParseAddr("203.0.113.9")},
	}
	for range 2 {
		drift, failures, err := tab.Sync(want, never)
		if err != nil || len(drift) != 0 || len(failures) != 1 {
			t.Errorf("%q, %v, %v", drift, failures, err)
		}
	}
}
