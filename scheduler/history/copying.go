package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// Progress is how far a copy has come with one of its parts.
type Progress struct {
	Part     string // a stream, or "SNAPSHOTS"
	At, Last uint64 // sequences of the stream; of the log for snapshots
}

// Done is what a call of Copy added.
type Done struct {
	Events      uint64 `json:"events"`
	Items       uint64 `json:"items"`
	Reports     uint64 `json:"reports"`
	Checkpoints uint64 `json:"checkpoints"`
	Snapshots   int    `json:"snapshots"`
	Last        uint64 `json:"last"` // record of the log in the copy
	// Unreadable counts those of Items that are no work items: they are in the
	// copy as they were stored.
	Unreadable uint64 `json:"unreadable,omitempty"`
}

// CopyOptions say how to copy.
type CopyOptions struct {
	// NoIndex leaves out the snapshots that Copy would make.
	NoIndex bool
	// Every is how many records there are between two snapshots, at least;
	// zero: leastEvery, or more when snapshots are large.
	Every uint64
	// Progress, which may be nil, is called now and then.
	Progress func(Progress)
}

// errOtherLog means that a copy and the streams are not of one log.
var errOtherLog = errors.New("the copy is of another log")

// Copy brings a copy of the streams up to where they are at the time of the
// call. It goes on where an earlier or interrupted call ended.
func Copy(ctx context.Context, js jetstream.JetStream, dir string, o CopyOptions) (done Done, err error) {
	w, err := Create(dir)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	c := copying{w: w, js: js, o: o, done: &done}
	if err := c.sameLog(ctx); err != nil {
		return done, err
	}
	// The end of what follows from something is found before that of it: nothing in
	// the copy then refers to what came after the end. All are found before any is
	// read, which may take minutes: hosts' words in the log follow from reports, too.
	parts := []struct {
		stream string
		take   func(*jetstream.RawStreamMsg) error
	}{
		{bus.CheckpointsStream, c.checkpoint},
		{bus.ReportsStream, c.report},
		{bus.WorkStream, c.item},
		{bus.EventsStream, c.event},
	}
	ends := map[string]uint64{}
	for _, part := range parts {
		s, err := bus.StreamState(ctx, js, part.stream)
		if err != nil {
			return done, fmt.Errorf("copying stream %s: %w", part.stream, err)
		}
		ends[part.stream] = s.LastSeq
	}
	for _, part := range parts {
		if err := c.stream(ctx, part.stream, ends[part.stream], part.take); err != nil {
			return done, fmt.Errorf("copying stream %s: %w", part.stream, err)
		}
	}
	done.Last = w.read(bus.EventsStream)
	if err := c.snapshots(ctx); err != nil {
		return done, err
	}
	if !o.NoIndex {
		n, err := Index(ctx, dir, o)
		done.Snapshots += n
		return done, err
	}
	return done, nil
}

type copying struct {
	w    *Writer
	js   jetstream.JetStream
	o    CopyOptions
	done *Done
}

// sameLog checks that the record after the copy's last is linked to it.
func (c *copying) sameLog(ctx context.Context) error {
	at := c.w.read(bus.EventsStream)
	if at == 0 {
		return nil
	}
	h, err := Open(c.w.dir)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // only read
	for r, err := range h.Records(ctx, at) {
		if err != nil {
			return err
		}
		for msg, err := range bus.Fetch(ctx, c.js, bus.EventsStream, "", at, at) {
			if err != nil {
				return err
			}
			if now := eventlog.RecordOf(msg); r.Err == nil && now.Err == nil && now.Hash() != r.Hash() {
				return fmt.Errorf("%w: record %d differs", errOtherLog, at)
			}
		}
		break
	}
	s, err := bus.StreamState(ctx, c.js, bus.EventsStream)
	if err == nil && s.LastSeq < at {
		err = fmt.Errorf("%w: it has record %d, and the stream ends with %d", errOtherLog, at, s.LastSeq)
	}
	return err
}

// syncEvery is how often what is copied is made durable.
const syncEvery = 5 * time.Second

func (c *copying) stream(ctx context.Context, name string, last uint64, take func(*jetstream.RawStreamMsg) error) error {
	s, err := bus.StreamState(ctx, c.js, name)
	if err != nil {
		return err
	}
	from := c.w.read(name) + 1
	if from > 1 && s.FirstSeq > from {
		return fmt.Errorf("%d to %d: %w; the copy ends before: make a new one", from, s.FirstSeq-1, eventlog.ErrGone)
	}
	synced, n := time.Now(), 0
	for msg, err := range bus.Fetch(ctx, c.js, name, "", max(from, s.FirstSeq), last) {
		if err == nil {
			err = take(msg)
		}
		if err != nil {
			return err
		}
		c.w.passed(name, msg.Sequence)
		if n++; n%1000 == 0 {
			c.progress(name, msg.Sequence, last)
			if time.Since(synced) > syncEvery {
				if err := c.w.Sync(); err != nil {
					return err
				}
				synced = time.Now()
			}
		}
	}
	c.w.passed(name, last)
	c.progress(name, last, last)
	return c.w.Sync()
}

func (c *copying) progress(part string, at, last uint64) {
	if c.o.Progress != nil {
		c.o.Progress(Progress{part, at, last})
	}
}

func (c *copying) event(msg *jetstream.RawStreamMsg) error {
	c.done.Events++
	r := eventlog.RecordOf(msg)
	at := msg.Time
	if e, err := r.Entry(); err == nil {
		at = e.Event.Received
	}
	return c.w.Record(r, at)
}

func (c *copying) item(msg *jetstream.RawStreamMsg) error {
	if msg.Subject == bus.FenceSubject {
		return nil
	}
	st := work.StoredOf(msg)
	data, err := bus.Unpack(msg.Header, msg.Data)
	if err != nil {
		data = msg.Data // kept as it is, also when nobody can read it
	}
	c.done.Items++
	if _, err := st.Item(); err != nil {
		c.done.Unreadable++
		host, _ := bus.HostOf(msg.Subject) // "" when the subject is the fault
		return c.w.Unreadable(msg.Sequence, msg.Time, host, err, data)
	}
	return c.w.Item(msg.Sequence, msg.Time, st.Host, st.Epoch, st.Cause, data)
}

func (c *copying) report(msg *jetstream.RawStreamMsg) error {
	host, err := bus.HostOf(msg.Subject)
	if err != nil {
		return err
	}
	data, err := bus.Unpack(msg.Header, msg.Data)
	if err != nil {
		data = msg.Data // what a host sent is kept, also when nobody can read it
	}
	c.done.Reports++
	return c.w.Report(msg.Sequence, msg.Time, host, data)
}

func (c *copying) checkpoint(msg *jetstream.RawStreamMsg) error {
	c.done.Checkpoints++
	return c.w.Checkpoint(msg.Sequence, msg.Time, msg.Data)
}

// snapshots copies the stored ones that the copy does not have.
func (c *copying) snapshots(ctx context.Context) error {
	log, err := eventlog.Open(ctx, c.js, eventlog.Options{})
	if err != nil {
		return fmt.Errorf("copying the snapshots: %w", err)
	}
	have, err := snapshotsIn(c.w.dir)
	if err != nil {
		return err
	}
	known := map[uint64]bool{}
	for _, s := range have {
		known[s.seq] = true
	}
	for before := c.done.Last; before > 0; {
		seq, data, ok, err := log.LatestSnapshot(ctx, before)
		if err != nil {
			return fmt.Errorf("copying the snapshots: %w", err)
		}
		if !ok || known[seq] {
			return nil
		}
		if err := c.w.Snapshot(seq, data); err != nil {
			return err
		}
		c.done.Snapshots++
		before = seq - 1
	}
	return nil
}
