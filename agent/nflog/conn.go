package nflog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/sys/unix"
)

// ErrLost means that packets came faster than they were read.
var ErrLost = errors.New("logged packets were lost")

// ErrTaken means that another process has the group.
var ErrTaken = errors.New("another process has the log group")

// Numbers of linux/netfilter/nfnetlink_log.h.
const (
	subsystem = 4 // NFNL_SUBSYS_ULOG
	msgPacket = 0
	msgConfig = 1
	msgNone   = 0xff // no message at all

	cfgCmd  = 1
	cfgMode = 2
	cmdBind = 1

	copyPacket = 2
	copyBytes  = 64 // IPv4 header with options, and ports

	attrPayload = 9
	attrPrefix  = 10
)

// Packet is the beginning of a logged IPv4 packet.
type Packet struct {
	Prefix  string // the rule's
	Src     netip.Addr
	Dst     netip.Addr
	Proto   uint8
	DstPort uint16 // TCP, UDP and their kin; 0 for others and later fragments
}

// Conn gets the packets of one group.
type Conn struct {
	nl *netlink.Conn
}

// Open binds the group in the calling thread's network namespace. Only one
// process can have it: ErrTaken, if it is another's.
func Open(group uint16) (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for logged packets: %w", err)
	}
	say := func(msg netlink.HeaderType, attrs ...netlink.Attribute) error {
		b, err := netlink.MarshalAttributes(attrs)
		if err == nil {
			_, err = nl.Execute(netlink.Message{
				Header: netlink.Header{Type: subsystem<<8 | msg, Flags: netlink.Request | netlink.Acknowledge},
				Data:   append([]byte{unix.AF_UNSPEC, 0, byte(group >> 8), byte(group)}, b...),
			})
		}
		return err
	}
	mode := append(binary.BigEndian.AppendUint32(nil, copyBytes), copyPacket, 0)
	for _, attr := range []netlink.Attribute{{Type: cfgCmd, Data: []byte{cmdBind}}, {Type: cfgMode, Data: mode}} {
		if err := say(msgConfig, attr); err != nil {
			// EPERM is the kernel's word for another's group, and for one who may not
			// even ask: to him it says so whatever he says.
			switch {
			case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EPERM) && !errors.Is(say(msgNone), unix.EPERM):
				err = fmt.Errorf("%w: %w", ErrTaken, err)
			case errors.Is(err, unix.EPERM):
				err = fmt.Errorf("CAP_NET_ADMIN is needed in this network namespace: %w", err)
			}
			nl.Close()
			return nil, fmt.Errorf("binding log group %d: %w", group, err)
		}
	}
	return &Conn{nl}, nil
}

// Close gives the group back.
func (c *Conn) Close() error { return c.nl.Close() }

// Next waits for packets. ErrLost is no end.
func (c *Conn) Next(ctx context.Context) ([]Packet, error) {
	stop := context.AfterFunc(ctx, func() { c.nl.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	ms, err := c.nl.Receive()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, unix.ENOBUFS):
		return nil, ErrLost
	case err != nil:
		return nil, fmt.Errorf("reading logged packets: %w", err)
	}
	var ps []Packet
	for _, m := range ms {
		if m.Header.Type == subsystem<<8|msgPacket && len(m.Data) > 4 {
			if p, ok := decode(m.Data[4:]); ok {
				ps = append(ps, p)
			}
		}
	}
	return ps, nil
}

func decode(b []byte) (p Packet, ok bool) {
	nlattr.Walk(b, func(t uint16, v []byte) {
		switch t {
		case attrPrefix:
			p.Prefix = strings.TrimRight(string(v), "\x00")
		case attrPayload:
			ok = p.header(v)
		}
	})
	return p, ok
}

// header reads an IPv4 header and, of a first fragment, the destination port.
func (p *Packet) header(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.Proto = b[9]
	length, offset := int(b[0]&15)*4, binary.BigEndian.Uint16(b[6:])&0x1fff
	switch p.Proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE:
		if offset == 0 && length >= 20 && len(b) >= length+4 {
			p.DstPort = binary.BigEndian.Uint16(b[length+2:])
		}
	}
	return true
}
