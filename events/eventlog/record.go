package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

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

// Record is an event as it lies in the log, or a foreign message: one that
// somebody else published there. Nothing follows from that one, but it has its
// place in the log and in the chain.
type Record struct {
	Seq    uint64
	Prev   Hash   // of the record before; of a foreign message its readers set it (Link)
	Epoch  uint64 // of the writer (package lease)
	Writer string // among those of the same epoch; empty: the message is foreign
	Data   []byte // the event in JSON, exactly as it was appended
	// Err is why a stored record can't be read: then only Seq is known.
	Err error

	stored   time.Time    // of a foreign message, by the server; zero of copies
	entry    events.Entry // of Data, once it was asked for
	entryErr error        // why Data holds none
	read     bool         // it was asked for
}

// ForeignRecord is a foreign message that the server stored at a time.
func ForeignRecord(seq uint64, stored time.Time, data []byte) *Record {
	return &Record{Seq: seq, Data: data, stored: stored.UTC()}
}

// Foreign tells whether no controller wrote the record.
func (r *Record) Foreign() bool { return r.Writer == "" && r.Err == nil }

// Link is the hash to which the next record must be linked. before is the same
// of the record before this one, nil if that is not known; then it is nil of a
// foreign message, too, which says by itself what it follows only as the first.
func (r *Record) Link(before *Hash) *Hash {
	if r.Err != nil {
		return nil
	}
	if r.Foreign() {
		switch {
		case r.Seq == 1:
			r.Prev = Hash{}
		case before == nil:
			return nil
		default:
			r.Prev = *before
		}
	}
	link := r.Hash()
	return &link
}

// Hash is what the next record refers to: see the package comment.
func (r *Record) Hash() Hash {
	var room [2048]byte // most records fit
	head := room[:0]
	head = append(head, "taskwall-record-1\n"...)
	head = strconv.AppendUint(head, r.Seq, 10)
	head = append(head, '\n')
	head = hex.AppendEncode(head, r.Prev[:])
	head = append(head, '\n')
	head = strconv.AppendUint(head, r.Epoch, 10)
	head = append(head, '\n')
	head = append(head, r.Writer...)
	head = append(head, '\n')
	return sha256.Sum256(append(head, r.Data...))
}

// message is the record as it is published.
func (r *Record) message(nc *nats.Conn, id string) (*nats.Msg, error) {
	msg := &nats.Msg{Subject: bus.EventsSubject, Header: nats.Header{
		jetstream.MsgIDHeader: {id},
		prevHeader:            {r.Prev.String()},
		bus.EpochHeader:       {strconv.FormatUint(r.Epoch, 10)},
		writerHeader:          {r.Writer},
	}}
	return msg, bus.Pack(nc, msg, r.Data)
}

// RecordOf reads a record from a message of the EVENTS stream. One that can't
// be read has its Err set.
func RecordOf(msg *jetstream.RawStreamMsg) *Record {
	r, err := recordOf(msg.Sequence, msg.Time, msg.Header, msg.Data)
	if err != nil {
		return &Record{Seq: msg.Sequence, Err: err}
	}
	return r
}

// recordOf reads a stored message.
func recordOf(seq uint64, stored time.Time, h nats.Header, data []byte) (*Record, error) {
	r := &Record{Seq: seq, Writer: h.Get(writerHeader)}
	if r.Writer == "" {
		if h.Get(prevHeader) == "" && h.Get(bus.EpochHeader) == "" {
			return ForeignRecord(seq, stored, data), nil
		}
		return nil, fmt.Errorf("record %d: %w: no writer", seq, ErrInvalid)
	}
	if err := r.Prev.UnmarshalText([]byte(h.Get(prevHeader))); err != nil {
		return nil, fmt.Errorf("record %d: %w: link: %w", seq, ErrInvalid, err)
	}
	var err error
	if r.Epoch, err = strconv.ParseUint(h.Get(bus.EpochHeader), 10, 64); err != nil {
		return nil, fmt.Errorf("record %d: %w: epoch: %w", seq, ErrInvalid, err)
	}
	if r.Data, err = bus.Unpack(h, data); err != nil {
		return nil, fmt.Errorf("record %d: %w: %w", seq, ErrInvalid, err)
	}
	return r, nil
}

// Entry decodes and checks the record's event, once: Data must not change
// afterwards.
func (r *Record) Entry() (events.Entry, error) {
	e, err := r.Read()
	if err != nil {
		return events.Entry{}, err
	}
	return *e, nil
}

// Read is Entry without a copy: what it gives is not to be changed.
func (r *Record) Read() (*events.Entry, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	if !r.read {
		r.entry.Seq, r.read = r.Seq, true
		r.entryErr = r.decode(&r.entry.Event)
	}
	return &r.entry, r.entryErr
}

func (r *Record) decode(e *events.Event) error {
	if r.Foreign() {
		e.Kind, e.Received = events.Foreign, r.stored
		return nil
	}
	if err := events.Decode(r.Data, e); err != nil {
		return fmt.Errorf("record %d: %w: %w", r.Seq, ErrInvalid, err)
	}
	if err := Validate(e); err != nil {
		return fmt.Errorf("record %d: %w", r.Seq, err)
	}
	return nil
}
