package bus

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
)

const (
	encodingHeader = "Taskwall-Encoding"
	s2Encoding     = "s2"

	// packFrom is the size in bytes from which a payload is compressed. Below
	// it the time costs more than the bytes.
	packFrom = 16 << 10
	// MaxUnpacked bounds a payload before compression and after decompression,
	// in bytes.
	MaxUnpacked = 64 << 20
)

// Pack puts data into a message, compressed when it is large. The connection's
// limit on messages applies to the result (ErrTooLarge).
func Pack(nc *nats.Conn, msg *nats.Msg, data []byte) error {
	if len(data) > MaxUnpacked {
		return fmt.Errorf("payload of %d bytes for %s: %w", len(data), msg.Subject, ErrTooLarge)
	}
	if len(data) >= packFrom {
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		msg.Header.Set(encodingHeader, s2Encoding)
		data = s2.Encode(nil, data)
	}
	msg.Data = data
	if size, limit := int64(msg.Size()), nc.MaxPayload(); size+headerRoom > limit {
		return fmt.Errorf("message of %d bytes for %s, the server takes %d: %w", size, msg.Subject, limit, ErrTooLarge)
	}
	return nil
}

// headerRoom is kept for the headers that publishing and republishing add.
const headerRoom = 1 << 10

// Unpack is the inverse of Pack for a message's headers and payload.
func Unpack(h nats.Header, data []byte) ([]byte, error) {
	switch e := h.Get(encodingHeader); e {
	case "":
		return data, nil
	case s2Encoding:
		n, err := s2.DecodedLen(data)
		if err != nil {
			return nil, fmt.Errorf("unpacking a payload: %w", err)
		}
		if n > MaxUnpacked {
			return nil, fmt.Errorf("unpacking a payload to %d bytes: %w", n, ErrTooLarge)
		}
		if data, err = s2.Decode(nil, data); err != nil {
			return nil, fmt.Errorf("unpacking a payload: %w", err)
		}
		return data, nil
	default:
		return nil, fmt.Errorf("unpacking a payload: unknown encoding %q", e)
	}
}
