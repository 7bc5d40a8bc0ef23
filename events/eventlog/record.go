package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
)

// Hash is the SHA-256 of a record, or all zeros before the first.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hex.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText is the inverse of MarshalText.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("a hash has %d hex digits, not %d", 2*len(h), len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

const (
	prevHeader   = "Taskwall-Prev"
	writerHeader = "Taskwall-Writer"
)

// record is an event as it lies in the log.
type record struct {
	seq    uint64
	prev   Hash
	epoch  uint64
	writer string
	data   []byte // the event in JSON, exactly as it was appended
}

// hash is what the next record refers to: see the package comment.
func (r *record) hash() Hash {
	h := sha256.New()
	head := make([]byte, 0, 192)
	head = append(head, "taskwall-record-1\n"...)
	head = strconv.AppendUint(head, r.seq, 10)
	head = append(head, '\n')
	head = hex.AppendEncode(head, r.prev[:])
	head = append(head, '\n')
	head = strconv.AppendUint(head, r.epoch, 10)
	head = append(head, '\n')
	head = append(head, r.writer...)
	head = append(head, '\n')
	h.Write(head)
	h.Write(r.data)
	return Hash(h.Sum(head[:0]))
}

// message is the record as it is published.
func (r *record) message(nc *nats.Conn, id string) (*nats.Msg, error) {
	msg := &nats.Msg{Subject: bus.EventsSubject, Header: nats.Header{
		jetstream.MsgIDHeader: {id},
		prevHeader:            {r.prev.String()},
		bus.EpochHeader:       {strconv.FormatUint(r.epoch, 10)},
		writerHeader:          {r.writer},
	}}
	return msg, bus.Pack(nc, msg, r.data)
}

// recordOf reads a stored message.
func recordOf(seq uint64, h nats.Header, data []byte) (*record, error) {
	r := &record{seq: seq, writer: h.Get(writerHeader)}
	if err := r.prev.UnmarshalText([]byte(h.Get(prevHeader))); err != nil {
		return nil, fmt.Errorf("record %d: %w: link: %w", seq, ErrInvalid, err)
	}
	var err error
	if r.epoch, err = strconv.ParseUint(h.Get(bus.EpochHeader), 10, 64); err != nil {
		return nil, fmt.Errorf("record %d: %w: epoch: %w", seq, ErrInvalid, err)
	}
	if r.data, err = bus.Unpack(h, data); err != nil {
		return nil, fmt.Errorf("record %d: %w: %w", seq, ErrInvalid, err)
	}
	return r, nil
}

// entry decodes the record's event.
func (r *record) entry() (events.Entry, error) {
	e := events.Entry{Seq: r.seq}
	if err := json.Unmarshal(r.data, &e.Event); err != nil {
		return events.Entry{}, fmt.Errorf("record %d: %w: %w", r.seq, ErrInvalid, err)
	}
	if err := Validate(&e.Event); err != nil {
		return events.Entry{}, fmt.Errorf("record %d: %w", r.seq, err)
	}
	return e, nil
}
