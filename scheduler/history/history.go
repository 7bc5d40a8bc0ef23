package history

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// ErrBeyond means that the asked moment is after the end of what is kept.
var ErrBeyond = errors.New("the log does not reach that far")

// ErrCut means that the log's last records are missing.
var ErrCut = errors.New("the log's end is missing")

// ErrDamaged means that a copy on disk is not what was written.
var ErrDamaged = errors.New("damaged")

// ErrAltered means that records are not those that were linked to each other.
var ErrAltered = errors.New("altered")

// History is the past. Its methods may be called by several goroutines.
type History struct {
	src  source
	bare bool // without snapshots
	snapshots
}

// source is where a past is kept. Lists begin at a sequence of their stream,
// or at the oldest kept, and end at the end at the time of the call.
type source interface {
	bounds(ctx context.Context) (first, last uint64, err error)
	records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error]
	items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error]
	reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error]
	checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error)
	// stored are the records after which there are snapshots, in order, and
	// snapshot is one of them; whole is false of one that is damaged.
	stored(ctx context.Context) ([]uint64, error)
	snapshot(ctx context.Context, seq uint64) (data []byte, whole bool, err error)
	// lastSigned is the last record that a checkpoint speaks of, whoever signed.
	lastSigned(ctx context.Context) (uint64, error)
	seqAt(ctx context.Context, t time.Time) (uint64, error)
	reportsAt(ctx context.Context, t time.Time) (uint64, error)
	close() error
}

// Close ends the use of the history. The connection of a live one stays open.
func (h *History) Close() error { return h.src.close() }

// IgnoreSnapshots has states folded from the log's beginning alone.
func (h *History) IgnoreSnapshots() { h.bare = true }

// Bounds say what of the log is kept.
type Bounds struct {
	First uint64    `json:"first"` // 0: nothing
	Last  uint64    `json:"last"`
	From  time.Time `json:"from,omitzero"` // when First was received
	To    time.Time `json:"to,omitzero"`   // when Last was received
}

// Bounds are the first and the last record of the log, and when they were
// received.
func (h *History) Bounds(ctx context.Context) (Bounds, error) {
	var b Bounds
	var err error
	if b.First, b.Last, err = h.src.bounds(ctx); err != nil || b.First == 0 {
		return Bounds{}, err
	}
	if b.From, err = h.received(ctx, b.First); err == nil {
		b.To, err = h.received(ctx, b.Last)
	}
	return b, err
}

func (h *History) received(ctx context.Context, seq uint64) (time.Time, error) {
	for r, err := range h.src.records(ctx, seq) {
		if err != nil {
			return time.Time{}, err
		}
		e, err := r.Entry()
		return e.Event.Received, err
	}
	return time.Time{}, fmt.Errorf("record %d: %w", seq, eventlog.ErrMissing)
}

// SeqAt is the last record that was received at or before a time; 0 when there
// is none. Records lie in the log nearly in the order in which they were
// received; of live streams it relies on that. It is ErrCut when the log's end,
// where it would be, is missing.
func (h *History) SeqAt(ctx context.Context, t time.Time) (uint64, error) {
	seq, err := h.src.seqAt(ctx, t)
	if err == nil {
		err = h.checkEnd(ctx, seq)
	}
	if err != nil {
		return 0, fmt.Errorf("searching the log for %s: %w", t.UTC().Format(time.RFC3339Nano), err)
	}
	return seq, nil
}

// ReportsAt is the place in the REPORTS stream, for Reports, of the first
// report that was stored at or after a time, or the place after all reports.
func (h *History) ReportsAt(ctx context.Context, t time.Time) (uint64, error) {
	seq, err := h.src.reportsAt(ctx, t)
	if err != nil {
		return 0, fmt.Errorf("searching the reports for %s: %w", t.UTC().Format(time.RFC3339Nano), err)
	}
	return seq, nil
}

// StateAt is the state after a record; before the first, 0, it is empty. It
// starts from the nearest snapshot at or before the record and folds the rest.
// It is ErrBeyond when the log ends before, and eventlog.ErrGone when the
// records to fold are no longer kept.
func (h *History) StateAt(ctx context.Context, seq uint64) (*scheduler.State, error) {
	first, last, err := h.src.bounds(ctx)
	if err != nil {
		return nil, err
	}
	if seq > last {
		return nil, fmt.Errorf("the state after record %d: %w: it ends with record %d", seq, ErrBeyond, last)
	}
	s, err := h.nearest(ctx, seq)
	if err != nil {
		return nil, err
	}
	if s.Seq() == seq {
		return s, nil
	}
	if s.Seq()+1 < first {
		return nil, fmt.Errorf("the state after record %d: records %d to %d: %w", seq, s.Seq()+1, first-1, eventlog.ErrGone)
	}
	for e, err := range h.Entries(ctx, s.Seq()+1) {
		if err != nil {
			return nil, fmt.Errorf("the state after record %d: %w", seq, err)
		}
		s.Apply(e)
		if e.Seq == seq {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the state after record %d: the log was read to record %d only: %w", seq, s.Seq(), eventlog.ErrMissing)
}

// Start is the state from which a log can be folded that begins with a record:
// the empty one, or that of the earliest snapshot that the log goes on from,
// which is taken on trust unless Trust was called. It is eventlog.ErrGone when there is none.
func (h *History) Start(ctx context.Context, first uint64) (*scheduler.State, error) {
	if first <= 1 {
		return scheduler.NewState(), nil
	}
	_, last, err := h.src.bounds(ctx)
	if err != nil {
		return nil, err
	}
	var best *scheduler.State
	for low, high := first-1, last; low <= high; { // halving: snapshots are large
		middle := low + (high-low)/2
		s, err := h.nearest(ctx, middle)
		if err != nil {
			return nil, err
		}
		if s.Seq()+1 < first {
			low = middle + 1
			continue
		}
		best, high = s, s.Seq()-1
	}
	if best == nil {
		return nil, fmt.Errorf("the log begins with record %d, and there is no snapshot to fold on from: %w", first, eventlog.ErrGone)
	}
	return best, nil
}

// checkEnd looks, for who found the log's last record, whether there were more:
// whether a checkpoint speaks of later ones.
func (h *History) checkEnd(ctx context.Context, found uint64) error {
	// In this order: more may be written meanwhile.
	signed, err := h.src.lastSigned(ctx)
	if err != nil {
		return err
	}
	_, last, err := h.src.bounds(ctx)
	if err == nil && found == last && last < signed {
		err = fmt.Errorf("%w: it ends with record %d, and there is a checkpoint of record %d", ErrCut, last, signed)
	}
	return err
}

// Records are the log's records from a sequence on (0: the oldest kept), to be
// checked (eventlog.Verifier): one that can't be read has its Err set, and one
// that is missing is seen by the sequences alone.
func (h *History) Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return h.src.records(ctx, from)
}

// Entries are the log's events from a sequence on (0: the oldest kept). Each
// is given once the link in the next one fits it. They end with the first
// error, which is eventlog.ErrGone or ErrMissing where records are no longer
// there, and ErrAltered where a link does not fit.
func (h *History) Entries(ctx context.Context, from uint64) iter.Seq2[events.Entry, error] {
	return func(yield func(events.Entry, error) bool) {
		var held *eventlog.Record // waits for the next one's link
		var link *eventlog.Hash   // that it must be
		give := func() bool {
			if held == nil {
				return true
			}
			e, err := held.Entry()
			held = nil
			if err != nil {
				err = fmt.Errorf("reading the log: %w", err)
			}
			return yield(e, err) && err == nil
		}
		for r, err := range h.src.records(ctx, from) {
			altered := false
			if err == nil {
				altered, err = follows(held, r, link, from)
			}
			if !altered && !give() {
				return
			}
			if err != nil {
				yield(events.Entry{}, fmt.Errorf("reading the log: %w", err))
				return
			}
			held, link = r, r.Link(link)
		}
		give()
	}
}

// follows tells whether a record is the one that follows another, or the first
// of those from a sequence on; altered, whether the other one is not as it was. link
// is that of the other one, nil if it is not known.
func follows(last, r *eventlog.Record, link *eventlog.Hash, from uint64) (altered bool, err error) {
	switch {
	case last == nil && from != 0 && r.Seq > from:
		return false, fmt.Errorf("records %d to %d: %w", from, r.Seq-1, eventlog.ErrGone)
	case last != nil && r.Seq > last.Seq+1:
		return false, fmt.Errorf("records %d to %d: %w", last.Seq+1, r.Seq-1, eventlog.ErrMissing)
	case last != nil && r.Seq <= last.Seq:
		return false, fmt.Errorf("record %d after %d: %w", r.Seq, last.Seq, ErrAltered)
	case r.Err != nil, r.Foreign():
		return false, nil // it is told when it is read; a foreign message claims nothing
	case link != nil && r.Prev != *link:
		return true, fmt.Errorf("records %d to %d: %w: the link in %d does not fit the content of %d", last.Seq, r.Seq, ErrAltered, r.Seq, last.Seq)
	case r.Seq == 1 && r.Prev != eventlog.Hash{}:
		return false, fmt.Errorf("record 1: %w: it is not linked to the beginning", ErrAltered)
	}
	return false, nil
}

// Items are the published work items from a place in the WORK stream on (0:
// the oldest kept), in the order in which they were published.
func (h *History) Items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return h.src.items(ctx, from)
}

// Reports are the hosts' reports from a place in the REPORTS stream on (0: the
// oldest kept), in the order in which they were stored.
func (h *History) Reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return h.src.reports(ctx, from)
}

// Checkpoints are all of the log, oldest first. They are not checked; those that
// can't be read have their Err set.
func (h *History) Checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error) {
	return h.src.checkpoints(ctx)
}

// Verify checks each link of the log's chain and each checkpoint against the
// keys to trust.
func (h *History) Verify(ctx context.Context, trust ...ed25519.PublicKey) (*eventlog.Report, error) {
	// Checkpoints first: those written meanwhile are beyond the end that we read to.
	checkpoints, err := h.src.checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("verifying the log: %w", err)
	}
	first, last, err := h.src.bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("verifying the log: %w", err)
	}
	v := eventlog.NewVerifier(checkpoints, trust...)
	if first > 0 {
		v.Expect(first)
	}
	for r, err := range h.src.records(ctx, first) {
		if err != nil {
			return nil, fmt.Errorf("verifying the log: %w", err)
		}
		v.Record(r)
		last = max(last, r.Seq)
	}
	return v.End(last), nil
}
