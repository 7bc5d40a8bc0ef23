package firewall

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// A look spares Sync the reading, and finds what others did before it. It is not
// believed about what was programmed since: that stays, and is no drift.
func TestLook(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			ctx := context.Background()
			f, p := open(t, b), sample()
			look := func() *Look {
				t.Helper()
				l, err := f.Look(ctx, slices.Collect(maps.Keys(p.Sets)))
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			sync := func(l *Look) string {
				t.Helper()
				p.Look = l
				drift, failures, err := f.Sync(ctx, p)
				if err != nil || len(failures) > 0 {
					t.Fatal(err, failures)
				}
				return strings.Join(drift, "\n")
			}
			sync(nil)
			if d := sync(look()); d != "" {
				t.Errorf("drift of a host that nobody touched: %s", d)
			}

			run(t, "iptables-"+string(b), "-F", "tw-i-db")
			run(t, "ipset", "del", "tw-s-web", "10.0.0.1")
			l := look()
			if !f.Fresh(l, p.Sets) {
				t.Error("a look is old though we programmed nothing")
			}
			if d := sync(l); !strings.Contains(d, "tw-i-db") || !strings.Contains(d, "tw-s-web") {
				t.Errorf("drift found: %q", d)
			}
			run(t, "ipset", "test", "tw-s-web", "10.0.0.1") // fails when it is not there

			run(t, "iptables-"+string(b), "-F", "tw-i-open")
			run(t, "ipset", "del", "tw-s-office", "10.0.0.1")
			l = look()
			p.Sets["web"].Members["10.0.0.9"] = struct{}{}
			none := func(string, string) bool { return false }
			if failures := f.Edit([]work.SetEdit{{ID: "web", Add: []string{"10.0.0.9"}}}, false, none); len(failures) > 0 {
				t.Fatal(failures)
			}
			changed := p.Programs["db"]
			changed.Ingress = nil
			p.Programs["db"] = changed
			if _, err := f.Programs(ctx, []work.Program{changed}, nil); err != nil {
				t.Fatal(err)
			}
			if !f.Fresh(l, p.Sets) {
				t.Error("after small changes the whole kernel would be read again")
			}
			d := sync(l)
			for _, ours := range []string{"tw-s-web", "tw-i-db", "jump"} {
				if strings.Contains(d, ours) {
					t.Errorf("our own change is taken for drift: %s", d)
				}
			}
			if !strings.Contains(d, "tw-i-open") || !strings.Contains(d, "tw-s-office") {
				t.Errorf("what others did is overlooked since we changed something else: %q", d)
			}
			run(t, "ipset", "test", "tw-s-web", "10.0.0.9")
			if d := sync(nil); d != "" {
				t.Errorf("the kernel is not as it was written: %s", d)
			}
		})
	}
}

// A look at large sets that were written since is no use: Sync would read them
// while changes wait.
func TestLookAtLargeSets(t *testing.T) {
	f, p := open(t, NFT), sample()
	members := map[string]struct{}{}
	for i := range fewMembers + 1 {
		members[netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}).String()] = struct{}{}
	}
	p.Sets["web"].Members = members
	if _, failures, err := f.Sync(context.Background(), p); err != nil || len(failures) > 0 {
		t.Fatal(err, failures)
	}
	for set, fresh := range map[string]bool{"office": true, "web": false} {
		l, err := f.Look(context.Background(), slices.Collect(maps.Keys(p.Sets)))
		if err != nil {
			t.Fatal(err)
		}
		f.Edit([]work.SetEdit{{ID: set, Add: []string{"10.9.9.9"}}}, false, nil)
		if f.Fresh(l, p.Sets) != fresh {
			t.Errorf("after a change of %s the look is fresh: %v", set, !fresh)
		}
	}
	l, err := f.Look(context.Background(), slices.Collect(maps.Keys(p.Sets)))
	if err != nil {
		t.Fatal(err)
	}
	p.Sets["made"] = &work.SetState{Type: work.Nets, Members: members}
	if failures := f.PutSets([]work.Set{{ID: "made", Type: work.Nets, Members: slices.Collect(maps.Keys(members))}}); len(failures) > 0 {
		t.Fatal(failures)
	}
	if f.Fresh(l, p.Sets) {
		t.Error("a look from before a large set was made is fresh")
	}
}

// Our own writes, however large, are not taken for a stranger's; one of a
// stranger is noticed.
func TestWatch(t *testing.T) {
	f, p := open(t, NFT), sample()
	if _, _, err := f.Sync(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, changed := make(chan error, 1), make(chan struct{}, 100)
	go func() { ended <- f.Watch(ctx, func() { changed <- struct{}{} }) }()
	for limit := time.Now().Add(20 * time.Second); !hearsRules(t); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it does not watch")
		}
	}
	many := work.Program{ID: "many", Policies: []string{"NetworkPolicy production/many"}, Ingress: []work.Tier{{Name: "default"}}}
	for i := range 5000 {
		r := work.Rule{Action: work.Allow, Policy: many.Policies[0], Protocol: 6}
		r.Dest.Ports = []work.PortRange{{First: uint16(1 + i), Last: uint16(1 + i)}}
		many.Ingress[0].Rules = append(many.Ingress[0].Rules, r)
	}
	if failures, err := f.Programs(ctx, []work.Program{many}, nil); err != nil || len(failures) > 0 {
		t.Fatal(err, failures)
	}
	run(t, "iptables-nft", "-t", "mangle", "-N", "theirs")
	// It hears of writes in their order: by then it has made up its mind about ours.
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatal("a stranger's write is not noticed")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := len(changed); n > 0 {
		t.Errorf("a stranger is said to have written %d times, and did once", n+1)
	}
}

// hearsRules says whether somebody listens to changes of the rules.
func hearsRules(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // socket, protocol, port, groups, …
		if len(f) > 3 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[3] == fmt.Sprintf("%08x", 1<<(groupNFTables-1)) {
			return true
		}
	}
	return false
}
