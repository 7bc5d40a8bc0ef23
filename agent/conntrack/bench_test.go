package conntrack_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/vishvananda/netlink"
)

// fill tracks n connections of one far address, and one of 10.0.0.1.
func fill(b *testing.B, n int) {
	b.Helper()
	track := func(src, dst []byte, port uint16) {
		f := netlink.ConntrackFlow{FamilyType: 2, TimeOut: 3600}
		f.Forward = netlink.IPTuple{Protocol: 17, SrcIP: src, DstIP: dst, SrcPort: port, DstPort: 53}
		f.Reverse = netlink.IPTuple{Protocol: 17, SrcIP: dst, DstIP: src, SrcPort: 53, DstPort: port}
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, 2, &f); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		track([]byte{10, 200, 0, 1}, []byte{10, 201, byte(i >> 8), byte(i)}, uint16(1+i>>16))
	}
	track([]byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, 1)
}

// BenchmarkFlows: one connection found among many, of one address (the kernel
// picks it) and of three (a list of all).
func BenchmarkFlows(b *testing.B) {
	for _, n := range []int{50_000, 200_000} {
		for _, of := range [][]netip.Addr{{one}, {one, netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9")}} {
			b.Run(fmt.Sprintf("tracked=%d/addresses=%d", n, len(of)), func(b *testing.B) {
				b.ReportAllocs()
				c, err := conntrack.Dial()
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				if u, _ := c.Usage(); u.Count != n+1 {
					fill(b, n)
				}
				for b.Loop() {
					if flows, err := c.Flows(of...); err != nil || len(flows) != 1 {
						b.Fatalf("%d flows, %v", len(flows), err)
					}
				}
			})
		}
	}
}
