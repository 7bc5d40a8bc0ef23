package agent_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/ipset"
	"golang.org/x/sys/unix"
)

// rawEndpoint is the least that the kernel must be told for a task's
// interface: one message for the pair, both ends where they belong, then
// what each side needs in one system call each, and the elements of three sets
// in another. The sockets are open and the messages written before; nothing is
// looked up, checked or waited for.
type rawEndpoint struct {
	host, task           *netlink.Conn
	pair, there, here    []netlink.Message
	sets                 *ipset.Conn
	elements             []ipset.Edit
	hostIndex, taskIndex uint32
}

var rawSets = map[string]ipset.Type{"raw-own": ipset.Net, "raw-src": ipset.NetIface, "raw-dst": ipset.NetIface}

// rawIndex gives each interface a number of its own, far from those that the
// kernel gives, so that it need not be asked for one.
var rawIndex uint32 = 1 << 20

func newRawEndpoint(b *testing.B, host *netlink.Conn, sets *ipset.Conn, ns *netlab.Namespace, addr netip.Addr) *rawEndpoint {
	b.Helper()
	task, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns.FD()})
	if err != nil {
		b.Fatal(err)
	}
	rawIndex++
	r := &rawEndpoint{host: host, task: task, sets: sets, hostIndex: rawIndex, taskIndex: 1000}
	const name = "rawbench"
	gateway := []byte{169, 254, 1, 1}
	hostMAC, taskMAC := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	r.pair = rawBatch(b, rawMessage{unix.RTM_NEWLINK, rawLink(r.hostIndex, unix.IFF_UP), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Bytes(unix.IFLA_ADDRESS, hostMAC)
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, "veth")
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				peer := netlink.NewAttributeEncoder()
				peer.String(unix.IFLA_IFNAME, "eth0")
				peer.Bytes(unix.IFLA_ADDRESS, taskMAC)
				peer.Uint32(unix.IFLA_NET_NS_FD, uint32(ns.FD()))
				p, err := peer.Encode()
				data.Bytes(1, append(rawLink(r.taskIndex, 0), p...)) // VETH_INFO_PEER; it cannot be up before the pair is made
				return err
			})
			return nil
		})
	}})
	neighbour := func(index uint32, ip []byte, mac net.HardwareAddr) rawMessage {
		h := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 0, 0, 0}, index)
		h = append(binary.NativeEndian.AppendUint16(h, unix.NUD_PERMANENT), 0, 0)
		return rawMessage{unix.RTM_NEWNEIGH, h, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NDA_DST, ip)
			ae.Bytes(unix.NDA_LLADDR, mac)
		}}
	}
	route := func(index uint32, to, via []byte) rawMessage {
		scope := byte(unix.RT_SCOPE_LINK)
		if via != nil {
			scope = unix.RT_SCOPE_UNIVERSE
		}
		h := []byte{unix.AF_INET, byte(8 * len(to)), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST, 0, 0, 0, 0}
		return rawMessage{unix.RTM_NEWROUTE, h, func(ae *netlink.AttributeEncoder) {
			if to != nil {
				ae.Bytes(unix.RTA_DST, to)
			}
			if via != nil {
				ae.Bytes(unix.RTA_GATEWAY, via)
			}
			ae.Uint32(unix.RTA_OIF, index)
		}}
	}
	address := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE}, r.taskIndex)
	r.there = rawBatch(b,
		rawMessage{unix.RTM_SETLINK, rawLink(r.taskIndex, unix.IFF_UP), nil},
		rawMessage{unix.RTM_NEWADDR, address, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFA_LOCAL, addr.AsSlice()) }},
		neighbour(r.taskIndex, gateway, hostMAC),
		route(r.taskIndex, gateway, nil), route(r.taskIndex, nil, gateway))
	settings := rawMessage{unix.RTM_SETLINK, rawLink(r.hostIndex, 0), func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_AF_SPEC, func(spec *netlink.AttributeEncoder) error {
			spec.Nested(unix.AF_INET, func(inet *netlink.AttributeEncoder) error {
				inet.Nested(1, func(conf *netlink.AttributeEncoder) error { // IFLA_INET_CONF
					conf.Uint32(1, 1) // IPV4_DEVCONF_FORWARDING
					conf.Uint32(8, 1) // IPV4_DEVCONF_RP_FILTER
					return nil
				})
				return nil
			})
			return nil
		})
	}}
	r.here = rawBatch(b, settings, neighbour(r.hostIndex, addr.AsSlice(), taskMAC), route(r.hostIndex, addr.AsSlice(), nil))
	e := ipset.Entry{Prefix: netip.PrefixFrom(addr, 32)}
	r.elements = []ipset.Edit{{Set: "raw-own", Type: ipset.Net, Entries: []ipset.Entry{e}}}
	e.Iface, e.Mark, e.Mask = name, 1, 0xff
	for _, set := range []string{"raw-src", "raw-dst"} {
		r.elements = append(r.elements, ipset.Edit{Set: set, Type: ipset.NetIface, Entries: []ipset.Entry{e}})
	}
	return r
}

func (r *rawEndpoint) makePair(b *testing.B) { rawDo(b, r.host, r.pair) }

func (r *rawEndpoint) program(b *testing.B) {
	rawDo(b, r.task, r.there)
	rawDo(b, r.host, r.here)
	if err := r.sets.Apply(r.elements...); err != nil {
		b.Fatal(err)
	}
}

// remove removes the pair: the elements stay for the next, as they are.
func (r *rawEndpoint) remove(b *testing.B) {
	rawDo(b, r.host, rawBatch(b, rawMessage{unix.RTM_DELLINK, rawLink(r.hostIndex, 0), nil}))
}

func (r *rawEndpoint) close() { r.task.Close() }

type rawMessage struct {
	typ    netlink.HeaderType
	header []byte
	attrs  func(*netlink.AttributeEncoder)
}

// rawLink is an ifinfomsg.
func rawLink(index, flags uint32) []byte {
	h := binary.NativeEndian.AppendUint32([]byte{0, 0, 0, 0}, index)
	h = binary.NativeEndian.AppendUint32(h, flags)
	return binary.NativeEndian.AppendUint32(h, flags)
}

// rawBatch writes messages of which only the last is answered, unless one fails.
func rawBatch(b *testing.B, all ...rawMessage) []netlink.Message {
	b.Helper()
	ms := make([]netlink.Message, len(all))
	for i, m := range all {
		ae := netlink.NewAttributeEncoder()
		if m.attrs != nil {
			m.attrs(ae)
		}
		data, err := ae.Encode()
		if err != nil {
			b.Fatal(err)
		}
		ms[i] = netlink.Message{Header: netlink.Header{Type: m.typ, Flags: netlink.Request}, Data: append(m.header, data...)}
		if m.typ == unix.RTM_NEWLINK || m.typ == unix.RTM_NEWADDR || m.typ == unix.RTM_NEWNEIGH || m.typ == unix.RTM_NEWROUTE {
			ms[i].Header.Flags |= netlink.Create
		}
	}
	ms[len(ms)-1].Header.Flags |= netlink.Acknowledge
	return ms
}

func rawDo(b *testing.B, c *netlink.Conn, ms []netlink.Message) {
	b.Helper()
	if _, err := c.SendMessages(ms); err != nil {
		b.Fatal(err)
	}
	if _, err := c.Receive(); err != nil {
		b.Fatal(err)
	}
}
