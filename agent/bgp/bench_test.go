package bgp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/events/work"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const manyPrefixes = 10_000

func many() []string {
	out := make([]string, manyPrefixes)
	for i := range out {
		out[i] = fmt.Sprintf("10.%d.%d.%d/26", 64+i>>10, i>>2&255, i&3<<6)
	}
	return out
}

func wide(peers ...work.BGPPeer) *work.BGP {
	b := config(peers...)
	b.Accept = append(b.Accept, prefix("10.64.0.0/10"))
	return b
}

// installed waits until the kernel has so many learned routes.
func installed(b *testing.B, n int) {
	b.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		rs, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: bgp.Protocol}, netlink.RT_FILTER_PROTOCOL)
		if err == nil && len(rs) == n {
			return
		}
		if time.Now().After(limit) {
			b.Fatalf("%d of %d routes, %v", len(rs), n, err)
		}
	}
}

// BenchmarkInstall is 10,000 prefixes from the session's start to the kernel;
// raw is the same routes written to it one by one, and nothing else.
func BenchmarkInstall(b *testing.B) {
	r := newRouter(b, 0).start(64999, 64512, "|graceful restart on;", many()...)
	var took, raw time.Duration
	for b.Loop() {
		s := speak(b, bgp.Config{})
		s.apply(wide(peerOn(0, 64999)))
		for s.last("r0").State != "established" {
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		for !s.Settled() { // the peer's last word is in the kernel
			time.Sleep(5 * time.Millisecond)
		}
		took += time.Since(began)
		installed(b, manyPrefixes)
		s.apply(nil)
		installed(b, 0)
		s.stop()
		raw += rawRoutes(b)
	}
	if err := r.hasNot("10.0.0.0/24"); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms")
	b.ReportMetric(float64(raw.Milliseconds())/float64(b.N), "raw-ms")
	b.ReportMetric(0, "ns/op")
}

func rawRoutes(b *testing.B) time.Duration {
	b.Helper()
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		b.Fatal(err)
	}
	defer nl.Close()
	link, err := nl.LinkByName("up0")
	if err != nil {
		b.Fatal(err)
	}
	routes := make([]netlink.Route, 0, manyPrefixes)
	for _, p := range many() {
		_, dst, err := net.ParseCIDR(p)
		if err != nil {
			b.Fatal(err)
		}
		routes = append(routes, netlink.Route{Dst: dst, Gw: routerOn(0).AsSlice(), LinkIndex: link.Attrs().Index, Protocol: bgp.Protocol, Priority: bgp.Metric})
	}
	began := time.Now()
	for i := range routes {
		if err := nl.RouteAdd(&routes[i]); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(began)
	for i := range routes {
		if err := nl.RouteDel(&routes[i]); err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// BenchmarkMemory is what a speaker with 10,000 prefixes and 50 peers holds;
// one of the peers is there and offers them all.
func BenchmarkMemory(b *testing.B) {
	newRouter(b, 0).start(64999, 64512, "|graceful restart on;", many()...)
	peers := []work.BGPPeer{peerOn(0, 64999)}
	for i := range 49 {
		peers = append(peers, work.BGPPeer{Name: fmt.Sprintf("away%d", i), Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}), ASN: 64999, Source: hostOn(0)})
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	var held float64
	for b.Loop() {
		before := heap()
		s := speak(b, bgp.Config{})
		s.apply(wide(peers...))
		installed(b, manyPrefixes)
		held = heap() - before
		s.apply(nil)
		s.stop()
	}
	b.ReportMetric(held, "heap-MB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSessionToRoute is a speaker's start to the first route in the
// kernel that it has by way of a reflector's word.
func BenchmarkSessionToRoute(b *testing.B) {
	newRouter(b, 0).start(64512, 64512, "next hop keep; export filter { bgp_next_hop = 198.51.100.77; accept; };|rr client; graceful restart on;", "10.0.1.0/24")
	var took time.Duration
	for b.Loop() {
		began := time.Now()
		s := speak(b, bgp.Config{})
		if failed := s.Apply(context.Background(), config(peerOn(0, 64512))); len(failed) > 0 {
			b.Fatal(failed)
		}
		for !s.Has(prefix("10.0.1.0/24")) {
			time.Sleep(time.Millisecond)
		}
		took += time.Since(began)
		if !strings.Contains(ip(b, "route show proto 85"), "via 198.51.100.77") {
			b.Fatal("it is another")
		}
		s.apply(nil)
		s.stop()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms")
	b.ReportMetric(0, "ns/op")
}
