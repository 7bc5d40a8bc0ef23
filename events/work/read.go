package work

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// Stored is an item as it lies in the WORK stream.
type Stored struct {
	Key         // of the item
	Data []byte // the item in JSON as it was published, not compressed

	Seq   uint64    // the stream's; claims of publishers leave gaps
	Epoch uint64    // the publisher's
	Time  time.Time // when it was stored, by the server's clock
	// Err is why it can't be read at all: then only Seq and Time are known.
	Err error
}

// Key is what tells an item from all others.
type Key struct {
	Host  string
	Rev   uint64
	Cause uint64
}

// Store makes of an item and of the host that it is published to what is stored.
// Whether data can be read in full only Item tells.
func Store(host string, data []byte) (st Stored, err error) {
	st.Key, st.Data = Key{Host: host}, data
	return st, st.readKey()
}

// Item reads the item.
func (s *Stored) Item() (*Item, error) {
	if s.Err != nil {
		return nil, s.Err
	}
	return decodeItem(s.Host, s.Data)
}

// readKey reads the first fields, and the whole when they are not written as
// json.Marshal does.
func (s *Stored) readKey() error {
	k, ok := readKey(s.Host, s.Data)
	if !ok {
		it, err := decodeItem(s.Host, s.Data)
		if err != nil {
			return err
		}
		k = it.Key()
	}
	if err := k.check(s.Host); err != nil {
		return err
	}
	s.Key = k
	return nil
}

// ReadItems gives the stored items of all hosts in the order in which they
// were published, from a stream sequence (0: the oldest kept) up to the end at
// the time of the call. One that can't be read has its Err set; the list ends
// with the first failure to read on.
func ReadItems(ctx context.Context, js jetstream.JetStream, from uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		state, err := bus.StreamState(ctx, js, bus.WorkStream)
		if err != nil {
			yield(Stored{}, fmt.Errorf("reading work items: %w", err))
			return
		}
		for msg, err := range bus.Fetch(ctx, js, bus.WorkStream, "", from, state.LastSeq) {
			if err != nil {
				yield(Stored{}, fmt.Errorf("reading work items: %w", err))
				return
			}
			if msg.Subject == bus.FenceSubject {
				continue
			}
			if !yield(StoredOf(msg), nil) {
				return
			}
		}
	}
}

// lastWindow is how many of the last messages are looked at at a time, at most.
const lastWindow = 256

// LastCause is the log's record because of which the last item was sent, 0 if
// there is none. Items follow from records that are durable: a log that ends
// before has lost some.
func LastCause(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	state, err := bus.StreamState(ctx, js, bus.WorkStream)
	if err != nil {
		return 0, fmt.Errorf("reading the last work item: %w", err)
	}
	window := uint64(8) // among them is an item, unless many took over without sending any
	for to := state.LastSeq; to >= max(state.FirstSeq, 1); window = min(4*window, lastWindow) {
		from := to - min(to, window) + 1
		var cause uint64
		for msg, err := range bus.Fetch(ctx, js, bus.WorkStream, "", from, to) {
			if err != nil {
				return 0, fmt.Errorf("reading the last work item: %w", err)
			}
			if msg.Subject == bus.FenceSubject {
				continue
			}
			if st := StoredOf(msg); st.Err == nil {
				cause = max(cause, st.Cause)
			}
		}
		if cause > 0 {
			return cause, nil
		}
		to = from - 1
	}
	return 0, nil
}

// StoredOf reads an item from a message of the WORK stream that is no claim.
// One that can't be read has its Err set.
func StoredOf(msg *jetstream.RawStreamMsg) Stored {
	st, err := storedOf(msg)
	if err != nil {
		st = Stored{Err: err}
	}
	st.Seq, st.Time = msg.Sequence, msg.Time
	return st
}

func storedOf(msg *jetstream.RawStreamMsg) (Stored, error) {
	host, err := bus.HostOf(msg.Subject)
	if err != nil {
		return Stored{}, err
	}
	data, err := bus.Unpack(msg.Header, msg.Data)
	if err != nil {
		return Stored{}, err
	}
	st, err := Store(host, data)
	if err != nil {
		return Stored{}, err
	}
	if st.Epoch, err = strconv.ParseUint(msg.Header.Get(bus.EpochHeader), 10, 64); err != nil {
		return Stored{}, fmt.Errorf("epoch: %w", err)
	}
	return st, nil
}

// StoredReport is a report as it lies in the REPORTS stream, which leaves no
// gaps between its sequences.
type StoredReport struct {
	Report
	Stored time.Time // by the server's clock
	// Data is the report as it was sent, not compressed; as it lies there when it
	// can't be unpacked. It is not written down with the rest.
	Data []byte `json:"-"`
	// Err is why the report can't be read: then only Host, Seq and Stored are
	// known.
	Err error
}

// ReadReports gives the stored reports of all hosts in the order in which they
// were stored, from a stream sequence (0: the oldest kept) up to the end at the
// time of the call. One that can't be read has its Err set; the list ends with
// the first failure to read on.
func ReadReports(ctx context.Context, js jetstream.JetStream, from uint64) iter.Seq2[StoredReport, error] {
	return func(yield func(StoredReport, error) bool) {
		state, err := bus.StreamState(ctx, js, bus.ReportsStream)
		if err != nil {
			yield(StoredReport{}, fmt.Errorf("reading reports: %w", err))
			return
		}
		for msg, err := range bus.Fetch(ctx, js, bus.ReportsStream, "", from, state.LastSeq) {
			if err != nil {
				yield(StoredReport{}, fmt.Errorf("reading reports: %w", err))
				return
			}
			if !yield(reportOf(msg), nil) {
				return
			}
		}
	}
}

// reportOf reads a report from a message of the REPORTS stream.
func reportOf(msg *jetstream.RawStreamMsg) StoredReport {
	st := StoredReport{Stored: msg.Time, Data: msg.Data}
	host, err := bus.HostOf(msg.Subject)
	data, errPacked := bus.Unpack(msg.Header, msg.Data)
	if errPacked == nil {
		st.Data = data
	}
	if err = cmp.Or(err, errPacked); err == nil {
		st.Report, err = DecodeReport(host, data)
	}
	if err != nil {
		st.Report, st.Err = Report{Host: host}, err // no host when the subject is the fault
	}
	st.Seq = msg.Sequence
	return st
}
