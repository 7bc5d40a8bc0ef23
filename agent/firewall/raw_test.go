package firewall_test

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/taskwall/taskwall/policy"
)

// packet writes a packet as a task would send it: IPv4 with the header that its
// protocol calls for, all checksums right, and the id by which it is known when
// it arrives.
func packet(p policy.Packet, src, dst netip.Addr, id uint16) []byte {
	body := transport(p, src, dst)
	b := make([]byte, 20, 20+len(body))
	b[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(b[4:], id)
	b[8], b[9] = 64, byte(p.Protocol) // hops left, protocol
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, body...)
}

func transport(p policy.Packet, src, dst netip.Addr) []byte {
	ports := func(b []byte) []byte {
		binary.BigEndian.PutUint16(b, p.SrcPort)
		binary.BigEndian.PutUint16(b[2:], p.DstPort)
		return b
	}
	switch p.Protocol {
	case 6: // a SYN
		b := ports(make([]byte, 20))
		b[12], b[13] = 5<<4, 2
		binary.BigEndian.PutUint16(b[14:], 64240)
		binary.BigEndian.PutUint16(b[16:], checksum(pseudo(p.Protocol, src, dst, b)))
		return b
	case 17, 136:
		// UDP-Lite has the bytes that its checksum covers where UDP has its
		// length. Its checksum should cover its own protocol number, but
		// connection tracking (of Linux 6.18) takes only UDP's for right.
		b := ports(make([]byte, 16))
		binary.BigEndian.PutUint16(b[4:], 16)
		binary.BigEndian.PutUint16(b[6:], checksum(pseudo(17, src, dst, b)))
		return b
	case 132: // an INIT
		b := ports(make([]byte, 32))
		b[12] = 1
		binary.BigEndian.PutUint16(b[14:], 20)
		b[19] = 1                               // the tag for answers, not 0
		b[23], b[25], b[27], b[31] = 1, 1, 1, 1 // window, streams, first sequence
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		return b
	case 1:
		b := make([]byte, 20)
		b[0], b[1] = byte(p.ICMPType), byte(p.ICMPCode)
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		return b
	case 47: // GRE that carries IPv4
		return []byte{0, 0, 8, 0, 0, 0, 0, 0}
	}
	return make([]byte, 16)
}

// pseudo is what the checksum of a transport header covers.
func pseudo(protocol int, src, dst netip.Addr, body []byte) []byte {
	s, d := src.As4(), dst.As4()
	b := append(s[:], d[:]...)
	b = append(b, 0, byte(protocol))
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
