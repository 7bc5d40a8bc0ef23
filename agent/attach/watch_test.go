package attach_test

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/vishvananda/netlink"
)

// A watch that could not keep up with the kernel says that it missed something
// and goes on.
func TestWatchGoesOnAfterAnOverrun(t *testing.T) {
	netlab.Join(t, "up0", "198.51.100.1/24", netlab.New(t), "up0", "198.51.100.2/24")
	link, err := netlink.LinkByName("up0")
	if err != nil {
		t.Fatal(err)
	}
	route := func(i int) *netlink.Route {
		dst := &net.IPNet{IP: net.IPv4(10, 64+byte(i>>16), byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}
		return &netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: attach.Protocol}
	}
	ctx, cancel := context.WithCancel(context.Background())
	hold, held, missed, last := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	first, ended := true, make(chan error, 1)
	go func() {
		ended <- attach.Watch(ctx, func(c attach.Change) {
			if first {
				first = false
				close(held)
				<-hold
			}
			switch c {
			case attach.Change{}:
				select {
				case missed <- struct{}{}:
				default:
				}
			case attach.Change{Route: netip.MustParsePrefix("10.99.0.1/32")}:
				select {
				case last <- struct{}{}:
				default:
				}
			}
		})
	}()
	nl, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	change := func(r *netlink.Route) {
		t.Helper()
		if err := nl.RouteAdd(r); err != nil {
			t.Fatal(err)
		}
		if err := nl.RouteDel(r); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, ch <-chan struct{}, do func()) {
		t.Helper()
		limit := time.After(20 * time.Second)
		for {
			do()
			select {
			case <-ch:
				return
			case err := <-ended:
				t.Fatalf("%s: the watch ended: %v", what, err)
			case <-limit:
				t.Fatalf("%s: not so", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	until("it watches", held, func() { change(route(0)) })
	for i := range 20_000 {
		change(route(i))
	}
	close(hold)
	until("it says that it missed something", missed, func() {})
	until("it goes on", last, func() {
		r := route(0)
		r.Dst = &net.IPNet{IP: net.IPv4(10, 99, 0, 1), Mask: net.CIDRMask(32, 32)}
		change(r)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// An interface that is set down, or removed, has gone; one that is only just
// being made has not.
func TestWatchInterfaces(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended, changes := make(chan error, 1), make(chan attach.Change, 100)
	go func() { ended <- attach.Watch(ctx, func(c attach.Change) { changes <- c }) }()
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	// said counts what is said of the interface until now.
	said := func(after string) (n int) {
		t.Helper()
		ip("link add twtestnow type veth")
		ip("link del twtestnow")
		limit := time.After(20 * time.Second)
		for {
			select {
			case c := <-changes:
				if c.Veth == "twtestnow" {
					return n
				}
				n++
			case err := <-ended:
				t.Fatalf("%s: the watch ended: %v", after, err)
			case <-limit:
				t.Fatalf("%s: the end is not noticed", after)
			}
		}
	}
	for watching := false; !watching; {
		ip("link add twtestbegin type veth")
		ip("link del twtestbegin")
		select {
		case <-changes:
			watching = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	said("the beginning")
	for _, step := range []struct {
		do   string
		gone bool
	}{
		{"link add twtest0 type veth", false},
		{"link set twtest0 mtu 1400", false},
		{"link set twtest0 up", false},
		{"link set twtest0 down", true},
		{"link set twtest0 up", false},
		{"link del twtest0", true},
	} {
		ip(step.do)
		if n := said(step.do); (n > 0) != step.gone {
			t.Errorf("after %q it was %d times said to have gone", step.do, n)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
