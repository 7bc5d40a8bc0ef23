package eventlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// ReportsMark is a running hash over the reports of hosts, in the order in
// which they were stored. With each report it becomes the SHA-256 of
//
//	taskwall-report-1\n<seq>\n<hash before, hex>\n<stored, RFC 3339 with nanoseconds, UTC>\n<subject>\n<report JSON>
//
// and it is all zeros before the first. A checkpoint signs it, so a report that
// is altered, removed, inserted or moved is found between two checkpoints.
type ReportsMark struct {
	First uint64 `json:"first"` // the report with which it begins
	Last  uint64 `json:"last"`  // the last that is in it
	Hash  Hash   `json:"hash"`
}

// Next is the mark after one more report: its place in the stream, when the
// server stored it, its host, and its bytes, not compressed.
func (m ReportsMark) Next(seq uint64, stored time.Time, host string, data []byte) ReportsMark {
	var room [1024]byte // most reports fit
	text := room[:0]
	text = append(text, "taskwall-report-1\n"...)
	text = strconv.AppendUint(text, seq, 10)
	text = append(text, '\n')
	text = hex.AppendEncode(text, m.Hash[:])
	text = append(text, '\n')
	text = stored.UTC().AppendFormat(text, time.RFC3339Nano)
	text = append(text, '\n')
	text = bus.AppendReportsSubject(text, host) // a host's name may hold anything, its subject no line end
	text = append(text, '\n')
	text = append(text, data...)
	m.Last, m.Hash = seq, sha256.Sum256(text)
	return m
}

// StoredReport is what a message of the REPORTS stream adds to a mark. The host
// is empty when the subject names none; what can't be unpacked counts as it
// lies there.
func StoredReport(msg *jetstream.RawStreamMsg) (host string, data []byte) {
	host, _ = bus.HostOf(msg.Subject) //nolint:errcheck // then it is empty
	data, err := bus.Unpack(msg.Header, msg.Data)
	if err != nil {
		data = msg.Data
	}
	return host, data
}

// tally keeps the mark of the reports for the writer of checkpoints.
type tally struct {
	reading sync.Mutex // held while reports are read

	mu   sync.Mutex
	mark *ReportsMark // nil: not known yet, or there are no reports
}

func (t *tally) now() *ReportsMark {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mark
}

func (t *tally) set(m ReportsMark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mark = &m
}

// tallyReports brings the mark up to the last report that is stored. The first
// time it goes on from the last checkpoint, so its cost grows with the reports
// since then. What it has read when it fails is kept.
func (l *Log) tallyReports(ctx context.Context) error {
	l.tally.reading.Lock()
	defer l.tally.reading.Unlock()
	state, err := bus.StreamState(ctx, l.js, bus.ReportsStream)
	if err != nil {
		return fmt.Errorf("reading the reports for a checkpoint: %w", err)
	}
	at := l.tally.now()
	if at == nil {
		if at, err = l.lastReportsMark(ctx); err != nil {
			return fmt.Errorf("reading the reports for a checkpoint: %w", err)
		}
	}
	if at == nil && state.LastSeq == 0 {
		return nil
	}
	if at == nil || at.Last > state.LastSeq || at.Last+1 < state.FirstSeq {
		if at != nil {
			l.log.Error("the reports do not go on where a checkpoint says that they ended: they are signed anew",
				"signed", at.Last, "first", state.FirstSeq, "last", state.LastSeq)
		}
		first := max(state.FirstSeq, 1)
		at = &ReportsMark{First: first, Last: first - 1}
	}
	m := *at
	defer func() { l.tally.set(m) }()
	for msg, err := range bus.Fetch(ctx, l.js, bus.ReportsStream, "", m.Last+1, state.LastSeq) {
		if err != nil {
			return fmt.Errorf("reading the reports for a checkpoint: %w", err)
		}
		host, data := StoredReport(msg)
		m = m.Next(msg.Sequence, msg.Time, host, data)
	}
	return nil
}

// checkpointWindow is how many checkpoints are looked at at a time, at most.
const checkpointWindow = 256

// lastReportsMark is that of the last checkpoint with one that a trusted key
// signed: what anybody else put there is not gone on with. It is nil when there
// is none.
func (l *Log) lastReportsMark(ctx context.Context) (*ReportsMark, error) {
	c, err := l.lastTrusted(ctx, func(c *Checkpoint) bool { return c.Reports != nil })
	if c == nil {
		return nil, err
	}
	return c.Reports, nil
}

// lastTrusted is the latest checkpoint that a trusted key signed and that is
// wanted, or nil. It looks from the end on, at more and more at a time.
func (l *Log) lastTrusted(ctx context.Context, wanted func(*Checkpoint) bool) (*Checkpoint, error) {
	state, err := bus.StreamState(ctx, l.js, bus.CheckpointsStream)
	if err != nil {
		return nil, err
	}
	window := uint64(8)
	for to := state.LastSeq; to > 0; window = min(4*window, checkpointWindow) {
		from := to - min(to, window) + 1
		var some []*Checkpoint
		for msg, err := range bus.Fetch(ctx, l.js, bus.CheckpointsStream, "", from, to) {
			if err != nil {
				return nil, err
			}
			c := new(Checkpoint)
			if json.Unmarshal(msg.Data, c) == nil && wanted(c) {
				some = append(some, c)
			}
		}
		for _, c := range slices.Backward(some) {
			if c.Check(l.o.Trust...) == nil {
				return c, nil
			}
		}
		to = from - 1
	}
	return nil, nil
}
