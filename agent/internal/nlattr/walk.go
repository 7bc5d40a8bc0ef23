// Package nlattr reads netlink attributes without copying them.
package nlattr

import "encoding/binary"

// typeMask leaves out the two flag bits of an attribute's type: nested, and
// network byte order.
const typeMask = 1<<14 - 1

// Walk visits the attributes in b, each with its type without flag bits, and
// stops at the first malformed one.
func Walk(b []byte, visit func(typ uint16, value []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		visit(binary.NativeEndian.Uint16(b[2:])&typeMask, b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}
