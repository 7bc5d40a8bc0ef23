package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/sys/unix"
)

// conn changes the interfaces, addresses and routes of the network namespace
// in which it was dialled. What belongs together goes to the kernel in one
// system call, and nothing is asked for that the kernel's answers already said.
type conn struct {
	mu  sync.Mutex
	nl  *netlink.Conn
	raw syscall.RawConn // reads: nl would take two calls for each answer
	buf []byte
}

func dial() (*conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for interfaces: %w", err)
	}
	raw, err := nl.SyscallConn()
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("opening a netlink socket for interfaces: %w", err)
	}
	const oneLink = 16 << 10 // bytes; what the kernel says of one interface has some 2,000
	return &conn{nl: nl, raw: raw, buf: make([]byte, oneLink)}, nil
}

func (c *conn) Close() error { return c.nl.Close() }

// step is one message of a batch.
type step struct {
	what   string // is being done, for an error
	typ    netlink.HeaderType
	flags  netlink.HeaderFlags
	header []byte // the type's own fixed part
	attrs  func(*netlink.AttributeEncoder)
	fine   syscall.Errno // an answer that is none to worry about
}

// do has the kernel take the steps in order. It goes on after one that fails,
// as the kernel does; the first error is returned. link is what the last step
// that asked for an interface was told.
func (c *conn) do(steps ...step) (link *link, first error) {
	ms := make([]netlink.Message, len(steps))
	for i, s := range steps {
		ae := netlink.NewAttributeEncoder()
		if s.attrs != nil {
			s.attrs(ae)
		}
		b, err := ae.Encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
		flags := netlink.Request | s.flags
		if i == len(steps)-1 && s.typ != unix.RTM_GETLINK {
			// Of the others the kernel speaks when they fail. The answer to a look
			// is one.
			flags |= netlink.Acknowledge
		}
		ms[i] = netlink.Message{Header: netlink.Header{Type: s.typ, Flags: flags}, Data: append(s.header, b...)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The kernel answers within the call. Should an answer never come, no other
	// attach waits for it.
	err := c.nl.SetDeadline(time.Now().Add(30 * time.Second))
	if err == nil {
		_, err = c.nl.SendMessages(ms)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", steps[0].what, err)
	}
	for done := false; !done; {
		err := c.receive(func(seq uint32, typ uint16, data []byte) {
			i := slices.IndexFunc(ms, func(m netlink.Message) bool { return m.Header.Sequence == seq })
			if i < 0 {
				return // of an earlier call that gave up
			}
			done = done || i == len(ms)-1
			switch {
			case typ == unix.RTM_NEWLINK && steps[i].typ == unix.RTM_GETLINK:
				link = decodeLink(data)
			case typ == unix.NLMSG_ERROR && len(data) >= 4:
				no := syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
				if no != 0 && no != steps[i].fine && first == nil {
					first = fmt.Errorf("%s: %w", steps[i].what, no)
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("%s: reading the kernel's answer: %w", steps[0].what, err)
		}
	}
	if first != nil {
		return nil, first
	}
	if last := steps[len(steps)-1]; link == nil && last.typ == unix.RTM_GETLINK {
		return nil, fmt.Errorf("%s: the kernel's answer holds no interface", last.what)
	}
	return link, nil
}

// receive reads the next of the kernel's answers and visits its messages.
func (c *conn) receive(visit func(seq uint32, typ uint16, data []byte)) error {
	var n int
	var err error
	wait := c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), c.buf, 0)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if err := errors.Join(wait, err); err != nil {
		return err
	}
	for b := c.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return unix.EBADMSG
		}
		visit(binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size])
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return nil
}

// link is what is asked of an interface.
type link struct {
	index int
	peer  int // the other end's index, in its own namespace
	away  int // that namespace's number as seen from the asker's, or -1
	name  string
	sends bool
}

func decodeLink(b []byte) *link {
	if len(b) < unix.SizeofIfInfomsg {
		return nil
	}
	l := &link{index: int(binary.NativeEndian.Uint32(b[4:]))}
	l.away = -1
	l.peer = l.index // some kernels leave it out when both are the same
	nlattr.Walk(b[unix.SizeofIfInfomsg:], func(t uint16, v []byte) {
		switch {
		case t == unix.IFLA_LINK && len(v) == 4:
			l.peer = int(binary.NativeEndian.Uint32(v))
		case t == unix.IFLA_LINK_NETNSID && len(v) == 4:
			l.away = int(int32(binary.NativeEndian.Uint32(v)))
		case t == unix.IFLA_IFNAME:
			l.name = unix.ByteSliceToString(v)
		case t == unix.IFLA_OPERSTATE && len(v) == 1:
			const operUp = 6 // IF_OPER_UP
			l.sends = v[0] == operUp
		}
	})
	return l
}

// linkHeader is an ifinfomsg: family, type, index, flags and which of them to change.
func linkHeader(index int, flags, change uint32) []byte {
	b := make([]byte, 4, unix.SizeofIfInfomsg)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	return binary.NativeEndian.AppendUint32(b, change)
}

// makePair makes both ends of a pair, each where it belongs: the peer's moving
// to its namespace later would cost the kernel 15 ms.
func makePair(s Spec, ns int) step {
	end := func(ae *netlink.AttributeEncoder, name string, mac net.HardwareAddr) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Bytes(unix.IFLA_ADDRESS, mac)
		if s.MTU > 0 {
			ae.Uint32(unix.IFLA_MTU, uint32(s.MTU))
		}
	}
	return step{
		what: "making " + s.Veth + " with " + s.Iface + " in " + s.Namespace,
		typ:  unix.RTM_NEWLINK, flags: netlink.Create | netlink.Excl, header: linkHeader(0, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) {
			end(ae, s.Veth, hostMAC)
			ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
				info.String(unix.IFLA_INFO_KIND, "veth")
				info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
					peer := netlink.NewAttributeEncoder()
					end(peer, s.Iface, taskMAC(s.Address))
					peer.Uint32(unix.IFLA_NET_NS_FD, uint32(ns))
					b, err := peer.Encode()
					const vethInfoPeer = 1 // VETH_INFO_PEER
					data.Bytes(vethInfoPeer, append(linkHeader(0, 0, 0), b...))
					return err
				})
				return nil
			})
		},
	}
}

// getLink asks for an interface by its name. Since Linux 6.8 the kernel first
// finishes what a change of its carrier has left to do.
func getLink(name string) step {
	return step{
		what: "looking at " + name, typ: unix.RTM_GETLINK, header: linkHeader(0, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) },
	}
}

// getPeer asks for an interface of another namespace, by its index and the
// namespace's number.
func getPeer(index, ns int) step {
	return step{
		what: "looking at the other end", typ: unix.RTM_GETLINK, header: linkHeader(index, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) { ae.Int32(unix.IFLA_TARGET_NETNSID, int32(ns)) },
	}
}

// leavingGroup is the group of the interfaces that are about to be removed.
// Others keep out of a number like this one ("task" in ASCII).
const leavingGroup = 0x7461736b

// regroup puts those of the interfaces that are there into leavingGroup.
func (c *conn) regroup(names []string) error {
	const perSend = 64
	for batch := range slices.Chunk(names, perSend) {
		steps := make([]step, len(batch))
		for i, name := range batch {
			steps[i] = step{
				what: "grouping " + name, typ: unix.RTM_SETLINK, header: linkHeader(0, 0, 0), fine: unix.ENODEV,
				attrs: func(ae *netlink.AttributeEncoder) {
					ae.String(unix.IFLA_IFNAME, name)
					ae.Uint32(unix.IFLA_GROUP, leavingGroup)
				},
			}
		}
		if _, err := c.do(steps...); err != nil {
			return err
		}
	}
	return nil
}

var removeGroup = step{
	what: "removing a group of interfaces", typ: unix.RTM_DELLINK, header: linkHeader(0, 0, 0),
	attrs: func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_GROUP, leavingGroup) },
}

func removeLink(name string) step {
	return step{
		what: "removing " + name, typ: unix.RTM_DELLINK, header: linkHeader(0, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) },
	}
}

func setUp(what string, index int) step {
	return step{what: "setting " + what + " up", typ: unix.RTM_NEWLINK, header: linkHeader(index, unix.IFF_UP, unix.IFF_UP)}
}

// setUpDeaf sets an interface up that neither asks nor answers by ARP. Both ends know
// each other's address; and a question alone would put its asker, whoever the task says
// that is, into the one table of neighbours that the kernel has for all interfaces.
func setUpDeaf(index int) step {
	const flags = unix.IFF_UP | unix.IFF_NOARP
	return step{what: "setting it up without ARP", typ: unix.RTM_NEWLINK, header: linkHeader(index, flags, flags)}
}

// closeHost sets, on the host's side, what a task could use against its host.
func closeHost(index int) step {
	return step{
		what: "settings of IPv4", typ: unix.RTM_SETLINK, header: linkHeader(index, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) {
			ae.Nested(unix.IFLA_AF_SPEC, func(spec *netlink.AttributeEncoder) error {
				spec.Nested(unix.AF_INET, func(inet *netlink.AttributeEncoder) error {
					inet.Nested(inetConf, func(conf *netlink.AttributeEncoder) error {
						for _, s := range hostSettings {
							conf.Uint32(s.number, s.value)
						}
						return nil
					})
					return nil
				})
				return nil
			})
		},
	}
}

func addAddress(index int, a netip.Addr) step {
	return step{
		what: "adding " + a.String(), typ: unix.RTM_NEWADDR, flags: netlink.Create | netlink.Replace,
		header: binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE}, uint32(index)),
		attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_LOCAL, a.AsSlice())
			ae.Bytes(unix.IFA_ADDRESS, a.AsSlice())
		},
	}
}

// addNeighbour fixes the hardware address of the one neighbour on the interface.
func addNeighbour(index int, a netip.Addr, mac net.HardwareAddr) step {
	b := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 0, 0, 0}, uint32(index))
	b = binary.NativeEndian.AppendUint16(b, unix.NUD_PERMANENT)
	return step{
		what: "fixing the hardware address of " + a.String(), typ: unix.RTM_NEWNEIGH, flags: netlink.Create | netlink.Replace,
		header: append(b, 0, 0),
		attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NDA_DST, a.AsSlice())
			ae.Bytes(unix.NDA_LLADDR, mac)
		},
	}
}

// What to do when there is such a route: to put this one in its place, or to refuse.
const (
	replace   = netlink.Replace
	exclusive = netlink.Excl
)

// route is a route by an interface.
type route struct {
	index    int
	to       netip.Prefix
	via      netip.Addr // none: directly
	protocol uint8
	table    int // 0: the main table
	priority int
	onlink   bool
}

func (r route) put(flags netlink.HeaderFlags) step {
	scope, proto, rtFlags := uint8(unix.RT_SCOPE_UNIVERSE), r.protocol, uint32(0)
	if !r.via.IsValid() {
		scope = unix.RT_SCOPE_LINK
	}
	if proto == 0 {
		proto = unix.RTPROT_BOOT
	}
	if r.onlink {
		rtFlags = unix.RTNH_F_ONLINK
	}
	table := r.table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	return step{
		what: "adding the route to " + r.to.String(), typ: unix.RTM_NEWROUTE, flags: netlink.Create | flags,
		header: binary.NativeEndian.AppendUint32([]byte{
			unix.AF_INET, uint8(r.to.Bits()), 0, 0, unix.RT_TABLE_UNSPEC, proto, scope, unix.RTN_UNICAST,
		}, rtFlags),
		attrs: func(ae *netlink.AttributeEncoder) {
			if r.to.Bits() > 0 {
				ae.Bytes(unix.RTA_DST, r.to.Addr().AsSlice())
			}
			if r.via.IsValid() {
				ae.Bytes(unix.RTA_GATEWAY, r.via.AsSlice())
			}
			if r.priority > 0 {
				ae.Uint32(unix.RTA_PRIORITY, uint32(r.priority))
			}
			ae.Uint32(unix.RTA_OIF, uint32(r.index))
			ae.Uint32(unix.RTA_TABLE, uint32(table))
		},
	}
}

// ruleFrom has packets from an address looked up in a table of their own.
func ruleFrom(a netip.Addr, table int) step {
	const toTable = 1 // FR_ACT_TO_TBL
	return step{
		what: "adding the rule for packets from " + a.String(), typ: unix.RTM_NEWRULE, flags: netlink.Create | netlink.Excl, fine: unix.EEXIST,
		header: []byte{unix.AF_INET, 0, 32, 0, unix.RT_TABLE_UNSPEC, 0, 0, toTable, 0, 0, 0, 0},
		attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.FRA_SRC, a.AsSlice())
			ae.Uint32(unix.FRA_TABLE, uint32(table))
		},
	}
}
