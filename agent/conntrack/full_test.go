package conntrack_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/internal/nfnl"
	"golang.org/x/sys/unix"
)

// A full table has no room for what is new, which is counted; what is open goes
// on, is found and is cut.
func TestFullTable(t *testing.T) {
	c := open(t)
	before, err := c.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if before.Max > 300_000 {
		t.Skipf("the machine tracks up to %d connections: to fill that takes long", before.Max)
	}
	for _, args := range [][]string{
		{"iptables-nft", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"}, {"ip", "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	netlab.ServeHere(t, "udp", "127.0.0.1:53")
	if err := netlab.ReachHere("udp", "127.0.0.1:53"); err != nil {
		t.Fatal(err)
	}
	nl, err := nfnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	for i := uint32(0); ; {
		ms := make([]netlink.Message, 64)
		for k := range ms {
			ms[k] = assured(t, i)
			i++
		}
		answers, err := nl.Do(ms...)
		if err != nil {
			t.Fatal(err)
		}
		if errors.Is(answers[len(ms)-1], unix.ENOMEM) {
			break
		}
		if a := answers[len(ms)-1]; a != nil {
			t.Fatal(a)
		}
	}
	u, err := c.Usage()
	if err != nil || u.Count < u.Max {
		t.Errorf("%+v is not full, %v", u, err)
	}
	if netlab.ReachHere("udp", "127.0.0.1:53") == nil {
		t.Error("a new connection is tracked nevertheless")
	}
	if u, err = c.Usage(); err != nil || u.Dropped <= before.Dropped {
		t.Errorf("%+v, before %+v: %v", u, before, err)
	}
	flows, err := c.Flows(one)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Cut(flows); err != nil || n != 4 {
		t.Errorf("cut %d, %v", n, err)
	}
	if err := netlab.ReachHere("udp", "127.0.0.1:53"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// assured is a connection that the kernel does not drop for the sake of another.
func assured(t *testing.T, i uint32) netlink.Message {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	tuple := func(typ uint16, src, dst netip.Addr, sport, dport uint16) {
		ae.Nested(typ, func(t *netlink.AttributeEncoder) error {
			t.Nested(1, func(ip *netlink.AttributeEncoder) error {
				ip.Bytes(1, src.AsSlice())
				ip.Bytes(2, dst.AsSlice())
				return nil
			})
			t.Nested(2, func(p *netlink.AttributeEncoder) error {
				p.Uint8(1, 17)
				p.Bytes(2, binary.BigEndian.AppendUint16(nil, sport))
				p.Bytes(3, binary.BigEndian.AppendUint16(nil, dport))
				return nil
			})
			return nil
		})
	}
	src, dst := netip.MustParseAddr("10.200.0.1"), netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24|201<<16+i)))
	tuple(1, src, dst, 7, 53)
	tuple(2, dst, src, 53, 7)
	ae.Bytes(3, binary.BigEndian.AppendUint32(nil, 1<<1|1<<2|1<<3)) // IPS_SEEN_REPLY, ASSURED, CONFIRMED
	ae.Bytes(7, binary.BigEndian.AppendUint32(nil, 3600))
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK << 8, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
		Data:   append([]byte{unix.AF_INET, 0, 0, 0}, b...),
	}
}
