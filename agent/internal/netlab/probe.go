package netlab

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Wait is how long a probe waits before it counts as denied. A packet between
// namespaces takes microseconds; the slack is for a busy machine.
const Wait = 250 * time.Millisecond

// Serve answers on addr ("ip:port") of the network ("tcp" or "udp") inside the
// namespace with an echo, until the test ends.
func (n *Namespace) Serve(network, addr string) {
	n.t.Helper()
	n.Do(func() error { return serve(n.t.Cleanup, network, addr) })
}

// ServeHere is Serve on the host under test.
func ServeHere(t interface {
	Cleanup(func())
	Fatal(...any)
}, network, addr string) {
	if err := serve(t.Cleanup, network, addr); err != nil {
		t.Fatal(err)
	}
}

func serve(cleanup func(func()), network, addr string) error {
	if network == "udp" {
		pc, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 2048)
			for {
				k, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				pc.WriteTo(b[:k], from)
			}
		}()
		return nil
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return nil
}

// Dial opens a connection from inside the namespace; the caller closes it.
func (n *Namespace) Dial(network, addr string) (c net.Conn, err error) {
	e := n.enter(func() error { c, err = dial(network, addr); return nil })
	if e != nil {
		return nil, e
	}
	return c, err
}

// DialFrom is Dial from a chosen source address.
func (n *Namespace) DialFrom(network, from, addr string) (c net.Conn, err error) {
	e := n.enter(func() error {
		d := net.Dialer{Timeout: Wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		if network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
		}
		c, err = d.DialContext(context.Background(), network+"4", addr)
		return nil
	})
	if e != nil {
		return nil, e
	}
	return c, err
}

func dial(network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: Wait}
	return d.DialContext(context.Background(), network+"4", addr)
}

// Reach says whether an exchange of data with addr works from inside the
// namespace: nil if it does. The network is "tcp", "udp" or "icmp" (a ping; addr is
// then an address alone).
func (n *Namespace) Reach(network, addr string) error {
	if network == "icmp" {
		var pc *icmp.PacketConn
		if err := n.enter(func() (err error) { pc, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0"); return err }); err != nil {
			return err
		}
		defer pc.Close()
		return ping(pc, addr)
	}
	c, err := n.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return Echo(c, Wait)
}

// ReachHere is Reach from the host under test.
func ReachHere(network, addr string) error {
	c, err := dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return Echo(c, Wait)
}

// Echo sends a few bytes and expects them back.
func Echo(c net.Conn, wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("taskwall")); err != nil {
		return err
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	return nil
}

func ping(pc *icmp.PacketConn, addr string) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("taskwall")}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := pc.WriteTo(b, &net.IPAddr{IP: net.ParseIP(addr)}); err != nil {
		return err
	}
	if err := pc.SetReadDeadline(time.Now().Add(Wait)); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		k, from, err := pc.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("pinging %s: %w", addr, err)
		}
		r, err := icmp.ParseMessage(1, buf[:k])
		if err == nil && r.Type == ipv4.ICMPTypeEchoReply && from.String() == addr {
			return nil
		}
	}
}
