package agent_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/internal/netlab"
	"golang.org/x/sys/unix"
)

// Frames as a hostile task or neighbour makes them, byte by byte.

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
)

func ethernet(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst...), src...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// arp says that who is at mac: as a question (1) or an answer (2).
func arp(op uint16, mac net.HardwareAddr, who, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, mac...), addr4(who)...)
	return append(append(b, 0, 0, 0, 0, 0, 0), addr4(target)...)
}

func addr4(s string) []byte { a := netip.MustParseAddr(s).As4(); return a[:] }

// ipv4 is a packet; frag is its flags and offset field.
func ipv4(proto byte, src, dst string, id, frag uint16, payload []byte) []byte {
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, frag)
	b = append(b, 64, proto, 0, 0)
	b = append(append(b, addr4(src)...), addr4(dst)...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

func udp(from, to uint16, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(data)))
	return append(append(b, 0, 0), data...) // no checksum: allowed in IPv4
}

// tcp is a header without data, with its checksum.
func tcp(src, dst string, from, to uint16, flags byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, 0, 0, 0, 7, 0, 0, 0, 7, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	pseudo := append(append(append([]byte{}, addr4(src)...), addr4(dst)...), 0, unix.IPPROTO_TCP, 0, byte(len(b)))
	binary.BigEndian.PutUint16(b[16:], checksum(append(pseudo, b...)))
	return b
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// wire is a raw socket on an interface of a namespace.
type wire struct {
	t    testing.TB
	fd   int
	mac  net.HardwareAddr // of the interface
	peer net.HardwareAddr // of the host's side
}

func openWire(t testing.TB, ns *netlab.Namespace, iface, hostSide string) *wire {
	t.Helper()
	w := &wire{t: t}
	ns.Do(func() error {
		l, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		w.mac = l.HardwareAddr
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(50 * time.Millisecond))
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	})
	t.Cleanup(func() { unix.Close(w.fd) })
	host, err := net.InterfaceByName(hostSide)
	if err != nil {
		t.Fatal(err)
	}
	w.peer = host.HardwareAddr
	return w
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := unix.Write(w.fd, frame); err != nil {
		w.t.Fatalf("sending a frame: %v", err)
	}
}

// ip sends a packet to the host.
func (w *wire) ip(packet []byte) { w.t.Helper(); w.send(ethernet(w.peer, w.mac, etherIPv4, packet)) }

// until returns the IPv4 packets that come in up to one that last matches.
func (w *wire) until(last func(packet []byte) bool) (seen [][]byte) {
	w.t.Helper()
	for _, f := range w.frames(func(f []byte) bool { return isIPv4(f) && last(f[14:]) }) {
		if isIPv4(f) {
			seen = append(seen, f[14:])
		}
	}
	return seen
}

func isIPv4(frame []byte) bool {
	return len(frame) >= 34 && binary.BigEndian.Uint16(frame[12:]) == etherIPv4
}

// frames returns what comes in up to a frame that last matches.
func (w *wire) frames(last func(frame []byte) bool) (seen [][]byte) {
	w.t.Helper()
	b := make([]byte, 4096)
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil {
			continue // nothing came for a while
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || n < 14 {
			continue
		}
		f := append([]byte{}, b[:n]...)
		seen = append(seen, f)
		if last(f) {
			return seen
		}
	}
	w.t.Fatalf("the last packet did not come; %d others did", len(seen))
	return nil
}
