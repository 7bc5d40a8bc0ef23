package eventlog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

// A snapshot is stored as parts of at most partSize bytes, each with its
// number, and then a manifest; a snapshot without its manifest does not exist.
// All have one subject, which ends in the snapshot's sequence.
const (
	partSize = 512 << 10

	manifestHeader = "Taskwall-Manifest"

	// maxSnapshot bounds a snapshot, in bytes.
	maxSnapshot = 4 << 30
)

// manifest ends a snapshot.
type manifest struct {
	Seq    uint64    `json:"seq"`
	Parts  int       `json:"parts"`
	Size   int       `json:"size"` // before compression, in bytes
	SHA256 Hash      `json:"sha256"`
	Time   time.Time `json:"time"`
}

// SaveSnapshot keeps the fold's state after the record seq. Saving the same
// sequence again replaces what was saved. Older snapshots are thinned out: the
// latest few stay, and of the rest one per day.
func (l *Log) SaveSnapshot(ctx context.Context, seq uint64, data []byte) error {
	if len(data) > maxSnapshot {
		return fmt.Errorf("saving the snapshot at %d: %d bytes: %w", seq, len(data), ErrTooLarge)
	}
	subject := bus.SnapshotSubject(seq)
	m := manifest{Seq: seq, Size: len(data), SHA256: sha256.Sum256(data), Time: time.Now().UTC()}
	packed := s2.Encode(nil, data)
	for part := range slices.Chunk(packed, partSize) {
		if _, err := bus.PublishAtomic(ctx, l.js, []*nats.Msg{{Subject: subject, Data: part}}); err != nil {
			return fmt.Errorf("saving the snapshot at %d, part %d: %w", seq, m.Parts, err)
		}
		m.Parts++
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("saving the snapshot at %d: %w", seq, err)
	}
	msg := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{manifestHeader: {"1"}}}
	if _, err := bus.PublishAtomic(ctx, l.js, []*nats.Msg{msg}); err != nil {
		return fmt.Errorf("saving the snapshot at %d: %w", seq, err)
	}
	if err := l.pruneSnapshots(ctx); err != nil {
		l.log.Warn("old snapshots stay for now", "error", err)
	}
	return nil
}

// LatestSnapshot is the last whole snapshot at or before a sequence; ok is
// false when there is none. One that is damaged is passed over for an older.
func (l *Log) LatestSnapshot(ctx context.Context, notAfter uint64) (seq uint64, data []byte, ok bool, err error) {
	seqs, err := l.snapshots(ctx)
	if err != nil {
		return 0, nil, false, err
	}
	for _, seq := range slices.Backward(seqs) {
		if seq > notAfter {
			continue
		}
		data, err := l.loadSnapshot(ctx, seq)
		if err == nil {
			return seq, data, true, nil
		}
		if !errors.Is(err, errDamaged) {
			return 0, nil, false, err
		}
		l.log.Warn("passing over a snapshot", "seq", seq, "error", err)
	}
	return 0, nil, false, nil
}

// errDamaged means that a snapshot is not whole or not what was saved.
var errDamaged = errors.New("damaged")

func (l *Log) loadSnapshot(ctx context.Context, seq uint64) ([]byte, error) {
	state, err := bus.StreamState(ctx, l.js, bus.SnapshotsStream)
	if err != nil {
		return nil, fmt.Errorf("loading the snapshot at %d: %w", seq, err)
	}
	var parts [][]byte
	var m *manifest
	for msg, err := range bus.Fetch(ctx, l.js, bus.SnapshotsStream, bus.SnapshotSubject(seq), 1, state.LastSeq) {
		if err != nil {
			return nil, fmt.Errorf("loading the snapshot at %d: %w", seq, err)
		}
		if msg.Header.Get(manifestHeader) == "" {
			parts = append(parts, msg.Data)
			continue
		}
		m = new(manifest)
		if err := json.Unmarshal(msg.Data, m); err != nil {
			return nil, fmt.Errorf("the snapshot at %d is %w: %w", seq, errDamaged, err)
		}
		// Saved more than once, or after an attempt that failed: the last parts count.
		if m.Parts < 0 || m.Parts > len(parts) {
			return nil, fmt.Errorf("the snapshot at %d is %w: %d of %d parts", seq, errDamaged, len(parts), m.Parts)
		}
		parts = parts[len(parts)-m.Parts:]
	}
	if m == nil {
		return nil, fmt.Errorf("the snapshot at %d is %w: not finished", seq, errDamaged)
	}
	packed := slices.Concat(parts[:m.Parts]...)
	if n, err := s2.DecodedLen(packed); err != nil || n != m.Size || n > maxSnapshot {
		return nil, fmt.Errorf("the snapshot at %d is %w: wrong size", seq, errDamaged)
	}
	data, err := s2.Decode(nil, packed)
	if err != nil || sha256.Sum256(data) != m.SHA256 {
		return nil, fmt.Errorf("the snapshot at %d is %w: wrong content", seq, errDamaged)
	}
	return data, nil
}

// snapshots are the sequences of all snapshots, whole or not, in order.
func (l *Log) snapshots(ctx context.Context) ([]uint64, error) {
	ctx, cancel := bus.Timeout(ctx)
	defer cancel()
	s, err := l.js.Stream(ctx, bus.SnapshotsStream)
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	var seqs []uint64
	for subject := range info.State.Subjects {
		seq, err := strconv.ParseUint(subject[strings.LastIndexByte(subject, '.')+1:], 10, 64)
		if err == nil {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// snapshotsKept is how many of the latest snapshots stay; of older ones the
// first of each day (UTC) does, for audits to start from.
const snapshotsKept = 4

func (l *Log) pruneSnapshots(ctx context.Context) error {
	seqs, err := l.snapshots(ctx)
	if err != nil || len(seqs) <= snapshotsKept {
		return err
	}
	day := ""
	for _, seq := range seqs[:len(seqs)-snapshotsKept] {
		last, found, err := bus.Last(ctx, l.js, bus.SnapshotsStream, bus.SnapshotSubject(seq))
		if err != nil {
			return fmt.Errorf("pruning the snapshot at %d: %w", seq, err)
		}
		if !found {
			continue
		}
		saved := last.Time.UTC().Format(time.DateOnly)
		if last.Header.Get(manifestHeader) != "" && saved != day {
			day = saved
			continue
		}
		if err := l.dropSnapshot(ctx, seq); err != nil {
			return fmt.Errorf("pruning the snapshot at %d: %w", seq, err)
		}
	}
	return nil
}

func (l *Log) dropSnapshot(ctx context.Context, seq uint64) error {
	ctx, cancel := bus.Timeout(ctx)
	defer cancel()
	s, err := l.js.Stream(ctx, bus.SnapshotsStream)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(bus.SnapshotSubject(seq)))
}
