package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 // NFNL_SUBSYS_CTNETLINK
	msgGet    = 1 // IPCTNL_MSG_CT_GET
	msgDelete = 2 // IPCTNL_MSG_CT_DELETE

	attrOrig   = 1
	attrReply  = 2
	attrID     = 12
	attrZone   = 18
	attrFilter = 25

	filterOrig  = 1
	filterReply = 2
	flagIPSrc   = 1 << 0

	tupleIP    = 1
	tupleProto = 2

	ipv4Src = 1
	ipv4Dst = 2

	protoNum  = 1
	protoSrc  = 2
	protoDst  = 3
	icmpID    = 4
	icmpType  = 5
	icmpCode  = 6
	netOrder  = 1 << 14
	minHeader = 4 // nfgenmsg
)

// Tuple is one direction of a connection. For ICMP the ports are zero and ID,
// Type and Code count.
type Tuple struct {
	Src, Dst         netip.Addr
	Proto            uint8
	SrcPort, DstPort uint16
	ID               uint16
	Type, Code       uint8
}

// Flow is a tracked connection: Orig is the direction of its first packet, as
// it was sent; Reply that of the answers.
type Flow struct {
	Orig, Reply Tuple
	id          [4]byte // the kernel's own
	zone        uint16
}

// String is the connection for people: who spoke first, to whom.
func (f Flow) String() string {
	o := f.Orig
	if o.Proto == unix.IPPROTO_ICMP {
		return fmt.Sprintf("icmp %s -> %s type %d", o.Src, f.Reply.Src, o.Type)
	}
	return fmt.Sprintf("%d %s:%d -> %s:%d", o.Proto, o.Src, o.SrcPort, f.Reply.Src, f.Reply.SrcPort)
}

func (e end) filter(a netip.Addr) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.Nested(e.tuple, func(t *netlink.AttributeEncoder) error {
			t.Nested(tupleIP, func(ip *netlink.AttributeEncoder) error {
				b := a.As4()
				ip.Bytes(ipv4Src, b[:])
				return nil
			})
			return nil
		})
		ae.Nested(attrFilter, func(f *netlink.AttributeEncoder) error {
			for _, n := range []uint16{filterOrig, filterReply} {
				v := uint32(0)
				if n == e.flags {
					v = flagIPSrc
				}
				f.Uint32(n, v)
			}
			return nil
		})
	}
}

// message is a netlink message for connection tracking: nfgenmsg (family,
// version, resource id) and attributes.
func message(cmd int, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	if fill != nil {
		fill(ae)
	}
	b, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, fmt.Errorf("encoding a request to connection tracking: %w", err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: subsystem<<8 | netlink.HeaderType(cmd), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_INET, 0, 0, 0}, b...),
	}, nil
}

// encode names the connection: its first direction, and its id, so that a new
// one with the same addresses and ports is not meant.
func (f Flow) encode(ae *netlink.AttributeEncoder) {
	ae.Nested(attrOrig, func(t *netlink.AttributeEncoder) error {
		t.Nested(tupleIP, func(ip *netlink.AttributeEncoder) error {
			src, dst := f.Orig.Src.As4(), f.Orig.Dst.As4()
			ip.Bytes(ipv4Src, src[:])
			ip.Bytes(ipv4Dst, dst[:])
			return nil
		})
		t.Nested(tupleProto, func(p *netlink.AttributeEncoder) error {
			p.Uint8(protoNum, f.Orig.Proto)
			if f.Orig.Proto == unix.IPPROTO_ICMP {
				p.Bytes(icmpID|netOrder, binary.BigEndian.AppendUint16(nil, f.Orig.ID))
				p.Uint8(icmpType, f.Orig.Type)
				p.Uint8(icmpCode, f.Orig.Code)
				return nil
			}
			p.Bytes(protoSrc|netOrder, binary.BigEndian.AppendUint16(nil, f.Orig.SrcPort))
			p.Bytes(protoDst|netOrder, binary.BigEndian.AppendUint16(nil, f.Orig.DstPort))
			return nil
		})
		return nil
	})
	ae.Bytes(attrID, f.id[:])
	if f.zone != 0 {
		ae.Bytes(attrZone, binary.BigEndian.AppendUint16(nil, f.zone))
	}
}

func decode(b []byte) (f Flow, ok bool) {
	if len(b) < minHeader || b[0] != unix.AF_INET {
		return f, false
	}
	nlattr.Walk(b[minHeader:], func(t uint16, v []byte) {
		switch {
		case t == attrOrig:
			f.Orig = decodeTuple(v)
		case t == attrReply:
			f.Reply = decodeTuple(v)
		case t == attrID && len(v) == len(f.id):
			f.id = [4]byte(v)
		case t == attrZone && len(v) == 2:
			f.zone = binary.BigEndian.Uint16(v)
		}
	})
	return f, f.Orig.Src.IsValid() && f.Reply.Src.IsValid()
}

func decodeTuple(b []byte) (t Tuple) {
	nlattr.Walk(b, func(typ uint16, v []byte) {
		switch typ {
		case tupleIP:
			nlattr.Walk(v, func(typ uint16, v []byte) {
				if len(v) != 4 {
					return
				}
				switch typ {
				case ipv4Src:
					t.Src = netip.AddrFrom4([4]byte(v))
				case ipv4Dst:
					t.Dst = netip.AddrFrom4([4]byte(v))
				}
			})
		case tupleProto:
			nlattr.Walk(v, func(typ uint16, v []byte) {
				switch {
				case typ == protoNum && len(v) == 1:
					t.Proto = v[0]
				case typ == protoSrc && len(v) == 2:
					t.SrcPort = binary.BigEndian.Uint16(v)
				case typ == protoDst && len(v) == 2:
					t.DstPort = binary.BigEndian.Uint16(v)
				case typ == icmpID && len(v) == 2:
					t.ID = binary.BigEndian.Uint16(v)
				case typ == icmpType && len(v) == 1:
					t.Type = v[0]
				case typ == icmpCode && len(v) == 1:
					t.Code = v[0]
				}
			})
		}
	})
	return t
}
