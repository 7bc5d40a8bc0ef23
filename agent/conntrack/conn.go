package conntrack

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 // NFNL_SUBSYS_CTNETLINK
	msgDelete = 2 // IPCTNL_MSG_CT_DELETE

	attrOrig   = 1
	attrReply  = 2
	attrFilter = 25

	filterOrig  = 1
	filterReply = 2
	flagIPSrc   = 1 << 0

	tupleIP  = 1
	ipv4Src  = 1
	netOrder = 1 << 14
)

// Conn talks to the connection tracking of the network namespace in which it
// was dialled. It may be used by several goroutines; their calls take turns.
type Conn struct {
	mu sync.Mutex
	nl *netlink.Conn
}

// Dial opens a connection in the calling thread's network namespace.
func Dial() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for connection tracking: %w", err)
	}
	return &Conn{nl: nl}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

// Forget removes every connection that the address has a part in.
func (c *Conn) Forget(a netip.Addr) error {
	// Who sends the first packet is the source of the original direction; who
	// answers it, also behind a translated address, that of the reply.
	for _, side := range []struct{ tuple, flags uint16 }{{attrOrig, filterOrig}, {attrReply, filterReply}} {
		m, err := flush(a, side.tuple, side.flags)
		if err != nil {
			return err
		}
		c.mu.Lock()
		_, err = c.nl.Execute(m)
		c.mu.Unlock()
		if err != nil {
			return fmt.Errorf("removing the tracked connections of %s: %w", a, err)
		}
	}
	return nil
}

func flush(a netip.Addr, tuple, flags uint16) (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(tuple, func(t *netlink.AttributeEncoder) error {
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
			if n == flags {
				v = flagIPSrc
			}
			f.Uint32(n, v)
		}
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, fmt.Errorf("encoding a conntrack filter: %w", err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: subsystem<<8 | msgDelete, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{unix.AF_INET, 0, 0, 0}, b...),
	}, nil
}
