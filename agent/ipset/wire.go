package ipset

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
)

// Numbers of linux/netfilter/ipset/ip_set.h.
const (
	subsystem = 6 // NFNL_SUBSYS_IPSET
	protocol  = 6 // IPSET_PROTOCOL_MIN: what kernels since 2.6.39 speak

	cmdCreate  = 2
	cmdDestroy = 3
	cmdSwap    = 6
	cmdList    = 7
	cmdAdd     = 9
	cmdDel     = 10

	attrProtocol = 1
	attrSetName  = 2
	attrTypeName = 3
	attrSetName2 = 3
	attrRevision = 4
	attrFamily   = 5
	attrFlags    = 6
	attrData     = 7
	attrADT      = 8
	attrLineno   = 9

	dataIP         = 1
	dataCIDR       = 3
	dataPort       = 4
	dataProto      = 7
	dataFlags      = 8
	dataLineno     = 9
	dataMaxElem    = 19
	dataElements   = 24
	dataReferences = 25
	dataIface      = 23
	dataSkbMark    = 27

	ipv4 = 1 // IPSET_ATTR_IPADDR_IPV4

	flagListHeader  = 1 << 2
	flagWithSkbInfo = 1 << 6

	nested   = 1 << 15
	netOrder = 1 << 14
)

// perMessage keeps a message of elements well under the 64 KiB that one
// attribute can hold; an element with an interface name takes some 70 bytes.
const perMessage = 500

// perSend is how many messages go in one system call.
const perSend = 16

// message is a netlink message for the ipset subsystem: nfgenmsg (family,
// version, resource id) and attributes.
func message(cmd int, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) netlink.Message {
	ae := netlink.NewAttributeEncoder()
	ae.Uint8(attrProtocol, protocol)
	fill(ae)
	b, err := ae.Encode()
	if err != nil {
		panic("ipset: encoding attributes: " + err.Error()) // only on a bug: sizes are bounded
	}
	const inet = 2 // AF_INET
	return netlink.Message{
		Header: netlink.Header{Type: subsystem<<8 | netlink.HeaderType(cmd), Flags: netlink.Request | flags},
		Data:   append([]byte{inet, 0, 0, 0}, b...),
	}
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// encode writes an element's attributes in the form of its set's type.
func (e Entry) encode(t Type, line uint32, ae *netlink.AttributeEncoder) {
	ae.Nested(dataIP, func(in *netlink.AttributeEncoder) error {
		a := e.Prefix.Addr().As4()
		in.Bytes(ipv4|netOrder, a[:])
		return nil
	})
	switch t {
	case IPPort:
		ae.Bytes(dataPort|netOrder, be16(e.Port))
		ae.Uint8(dataProto, e.Proto)
	case NetIface:
		ae.Uint8(dataCIDR, uint8(e.Prefix.Bits()))
		ae.String(dataIface, e.Iface)
		if e.Mask != 0 {
			ae.Bytes(dataSkbMark|netOrder, be64(uint64(e.Mark)<<32|uint64(e.Mask)))
		}
	default:
		ae.Uint8(dataCIDR, uint8(e.Prefix.Bits()))
	}
	ae.Bytes(dataLineno|netOrder, be32(line))
}

// decode reads an element from its attributes; ok is false when it has no
// IPv4 address, which no element of our sets lacks.
func decode(t Type, b []byte) (e Entry, ok bool) {
	bits := 32
	var addr netip.Addr
	nlattr.Walk(b, func(typ uint16, v []byte) {
		switch typ {
		case dataIP:
			nlattr.Walk(v, func(typ uint16, v []byte) {
				if typ == ipv4 && len(v) == 4 {
					addr = netip.AddrFrom4([4]byte(v))
				}
			})
		case dataCIDR:
			if len(v) == 1 && v[0] <= 32 {
				bits = int(v[0])
			}
		case dataPort:
			if len(v) == 2 && t == IPPort {
				e.Port = binary.BigEndian.Uint16(v)
			}
		case dataProto:
			if len(v) == 1 && t == IPPort {
				e.Proto = v[0]
			}
		case dataFlags:
			if len(v) == 4 {
				e.Flags = binary.BigEndian.Uint32(v)
			}
		case dataIface:
			e.Iface = cString(v)
		case dataSkbMark:
			if len(v) == 8 {
				m := binary.BigEndian.Uint64(v)
				e.Mark, e.Mask = uint32(m>>32), uint32(m)
			}
		}
	})
	if !addr.IsValid() {
		return Entry{}, false
	}
	e.Prefix = netip.PrefixFrom(addr, bits)
	return e, true
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
