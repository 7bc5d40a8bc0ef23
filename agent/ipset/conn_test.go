package ipset_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/ipset"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func dial(t testing.TB) *ipset.Conn {
	t.Helper()
	c, err := ipset.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func one(s string) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(s), 32) }

// Each type's elements come back as written, and the ipset tool agrees.
func TestElementsOfEveryType(t *testing.T) {
	for _, tc := range []struct {
		typ     ipset.Type
		entries []ipset.Entry
		tool    []string
	}{
		{ipset.Net, []ipset.Entry{{Prefix: one("10.0.0.1")}, {Prefix: netip.MustParsePrefix("10.8.0.0/16")}},
			[]string{"10.0.0.1", "10.8.0.0/16"}},
		{ipset.IPPort, []ipset.Entry{{Prefix: one("10.0.0.1"), Proto: 6, Port: 8080}, {Prefix: one("10.0.0.1"), Proto: 17, Port: 53}},
			[]string{"10.0.0.1,tcp:8080", "10.0.0.1,udp:53"}},
		{ipset.NetIface, []ipset.Entry{{Prefix: one("10.0.0.1"), Iface: "tw0", Mark: 5, Mask: 0x3fff}},
			[]string{"10.0.0.1,tw0 skbmark 0x5/0x3fff"}},
	} {
		t.Run(string(tc.typ), func(t *testing.T) {
			c := dial(t)
			const name = "tw-test"
			if err := c.Create(name, tc.typ); err != nil {
				t.Fatal(err)
			}
			defer c.Destroy(name)
			edit := ipset.Edit{Set: name, Type: tc.typ, Entries: tc.entries}
			for range 2 { // a second time changes nothing
				if err := c.Apply(edit); err != nil {
					t.Fatal(err)
				}
			}
			got, err := c.List(name)
			if err != nil {
				t.Fatal(err)
			}
			sort := func(es []ipset.Entry) []ipset.Entry {
				return slices.SortedFunc(slices.Values(es), func(a, b ipset.Entry) int { return strings.Compare(a.String(), b.String()) })
			}
			if !slices.Equal(sort(got.Entries), sort(tc.entries)) || got.Type != tc.typ {
				t.Errorf("got %v %v, want %v", got.Type, got.Entries, tc.entries)
			}
			out, err := exec.Command("ipset", "list", name).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range tc.tool {
				if !strings.Contains(string(out), "\n"+line) {
					t.Errorf("the ipset tool shows no %q in:\n%s", line, out)
				}
			}
			edit.Remove = true
			for range 2 {
				if err := c.Apply(edit); err != nil {
					t.Fatal(err)
				}
			}
			if got, err = c.List(name); err != nil || len(got.Entries) != 0 {
				t.Errorf("after removal: %v, %v", got.Entries, err)
			}
		})
	}
}

// Adding an element again moves it to its new mark: no moment without one.
func TestMarkIsReplaced(t *testing.T) {
	c := dial(t)
	if err := c.Create("tw-mark", ipset.NetIface); err != nil {
		t.Fatal(err)
	}
	defer c.Destroy("tw-mark")
	for _, mark := range []uint32{1, 2, 0} {
		e := ipset.Entry{Prefix: one("10.0.0.1"), Iface: "tw0", Mark: mark, Mask: 0xff}
		if err := c.Apply(ipset.Edit{Set: "tw-mark", Type: ipset.NetIface, Entries: []ipset.Entry{e}}); err != nil {
			t.Fatal(err)
		}
		got, err := c.List("tw-mark")
		if err != nil || len(got.Entries) != 1 || got.Entries[0] != e {
			t.Errorf("got %v, %v; want %v", got.Entries, err, e)
		}
	}
}

func TestLargeSet(t *testing.T) {
	c := dial(t)
	const n = 100_000
	if err := c.Create("tw-large", ipset.Net); err != nil {
		t.Fatal(err)
	}
	defer c.Destroy("tw-large")
	entries := make([]ipset.Entry, n)
	for i := range entries {
		entries[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	if err := c.Apply(ipset.Edit{Set: "tw-large", Type: ipset.Net, Entries: entries}); err != nil {
		t.Fatal(err)
	}
	got, err := c.List("tw-large")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[ipset.Entry]bool{}
	for _, e := range got.Entries {
		seen[e] = true
	}
	if len(seen) != n || len(got.Entries) != n {
		t.Errorf("%d elements, %d different; want %d", len(got.Entries), len(seen), n)
	}
}

func TestErrors(t *testing.T) {
	c := dial(t)
	if err := c.Apply(ipset.Edit{Set: "tw-none", Type: ipset.Net, Entries: []ipset.Entry{{Prefix: one("10.0.0.1")}}}); !errors.Is(err, ipset.ErrAbsent) {
		t.Errorf("editing an absent set: %v", err)
	}
	if _, err := c.List("tw-none"); !errors.Is(err, ipset.ErrAbsent) {
		t.Errorf("listing an absent set: %v", err)
	}
	if err := c.Destroy("tw-none"); err != nil {
		t.Errorf("destroying an absent set: %v", err)
	}
	if err := c.Create("tw-a", ipset.Net); err != nil {
		t.Fatal(err)
	}
	defer c.Destroy("tw-a")
	if err := c.Create("tw-a", ipset.Net); err != nil {
		t.Errorf("creating a set that is there: %v", err)
	}
	if err := c.Create("tw-a", ipset.IPPort); !errors.Is(err, ipset.ErrOtherType) {
		t.Errorf("creating a set that is there with another type: %v", err)
	}
	rule := []string{"-A", "FORWARD", "-m", "set", "--match-set", "tw-a", "src", "-j", "DROP"}
	if out, err := exec.Command("iptables", rule...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := c.Destroy("tw-a"); !errors.Is(err, ipset.ErrInUse) {
		t.Errorf("destroying a set that a rule names: %v", err)
	}
	hs, err := c.Headers()
	if err != nil || len(hs) != 1 || hs[0].Name != "tw-a" || hs[0].References != 1 {
		t.Errorf("headers: %+v, %v", hs, err)
	}
	rule[0] = "-D"
	if out, err := exec.Command("iptables", rule...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func BenchmarkAddRemove(b *testing.B) {
	c := dial(b)
	if err := c.Create("tw-bench", ipset.Net); err != nil {
		b.Fatal(err)
	}
	defer c.Destroy("tw-bench")
	add := ipset.Edit{Set: "tw-bench", Type: ipset.Net, Entries: []ipset.Entry{{Prefix: one("10.0.0.1")}}}
	del := add
	del.Remove = true
	for b.Loop() {
		if err := c.Apply(add, del); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleEntry_String() {
	fmt.Println(ipset.Entry{Prefix: one("10.0.0.1"), Iface: "tw4f2a", Mark: 5, Mask: 0x3fff})
	// Output: 10.0.0.1,tw4f2a skbmark 0x5/0x3fff
}
