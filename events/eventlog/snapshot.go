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
// sequence again replaces what was saved. With a key, a checkpoint then vouches
// for it. Older snapshots are thinned out: the latest few stay, and of the rest
// one per day.
func (l *Log) SaveSnapshot(ctx context.Context, seq uint64, data []byte) error {
	if len(data) > maxSnapshot {
		return fmt.Errorf("saving the snapshot at %d: %d bytes: %w", seq, len(data), ErrTooLarge)
	}
	subject := bus.SnapshotSubject(seq)
	mark := MarkState(seq, data)
	m := manifest{Seq: seq, Size: len(data), SHA256: mark.Hash, Time: time.Now().UTC()}
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
	if err := l.vouch(ctx, mark); err != nil {
		l.log.Error("a snapshot waits for the next checkpoint to vouch for it", "seq", seq, "error", err)
	}
	if err := l.pruneSnapshots(ctx, seq); err != nil {
		l.log.Warn("old snapshots stay for now", "error", err)
	}
	return nil
}

// vouch signs a state, when the log is known up to its record; otherwise the
// next checkpoint does.
func (l *Log) vouch(ctx context.Context, mark StateMark) error {
	if l.o.Key == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state = &mark; l.dueState() == nil {
		return nil
	}
	return l.checkpoint(ctx)
}

// LatestSnapshot is the last whole snapshot at or before a sequence; ok is
// false when there is none. One that is damaged is passed over for an older.
//
// Who trusts keys (Options.Trust) gets one that a checkpoint of theirs vouches
// for. One that differs from what was signed is never given. One that nobody
// signed is given, and logged, only when there is no other way: when no state
// was ever signed, as by earlier versions, or when the log's beginning, from
// which all could be folded, is no longer kept.
func (l *Log) LatestSnapshot(ctx context.Context, notAfter uint64) (seq uint64, data []byte, ok bool, err error) {
	seqs, err := l.Snapshots(ctx)
	if err != nil {
		return 0, nil, false, err
	}
	var states *States
	if len(l.o.Trust) > 0 && len(seqs) > 0 {
		checkpoints, err := l.Checkpoints(ctx)
		if err != nil {
			return 0, nil, false, err
		}
		states = NewStates(checkpoints, l.o.Trust...)
	}
	var unsignedSeq uint64
	var unsigned []byte
	for _, seq := range slices.Backward(seqs) {
		if seq > notAfter || unsigned != nil && len(states.At(seq)) == 0 {
			continue
		}
		data, whole, err := l.Snapshot(ctx, seq)
		if err != nil {
			return 0, nil, false, err
		}
		if !whole {
			continue
		}
		if states == nil {
			return seq, data, true, nil
		}
		switch err := states.Check(seq, data); {
		case err == nil:
			return seq, data, true, nil
		case errors.Is(err, ErrUnsigned):
			unsignedSeq, unsigned = seq, data
		default:
			l.log.Error("passing over a snapshot that somebody changed", "seq", seq, "error", err)
		}
	}
	if unsigned == nil {
		return 0, nil, false, nil
	}
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	if err != nil {
		return 0, nil, false, err
	}
	if state.FirstSeq <= 1 && states.Any() {
		l.log.Error("passing over the latest snapshot", "seq", unsignedSeq, "error", ErrUnsigned)
		return 0, nil, false, nil
	}
	l.log.Error("a snapshot is taken on trust, since there is none that is signed", "seq", unsignedSeq, "error", ErrUnsigned)
	return unsignedSeq, unsigned, true, nil
}

// Snapshot is the one at a sequence of Snapshots; whole is false, and it is
// logged, when it is not what was saved.
func (l *Log) Snapshot(ctx context.Context, seq uint64) (data []byte, whole bool, err error) {
	data, err = l.loadSnapshot(ctx, seq)
	if errors.Is(err, errDamaged) {
		l.log.Warn("passing over a snapshot", "seq", seq, "error", err)
		return nil, false, nil
	}
	return data, err == nil, err
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

// Snapshots are the sequences of all snapshots, whole or not, in order.
func (l *Log) Snapshots(ctx context.Context) ([]uint64, error) {
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

// pruneSnapshots leaves the latest up to a sequence: those after it are not of
// this writer.
func (l *Log) pruneSnapshots(ctx context.Context, latest uint64) error {
	seqs, err := l.Snapshots(ctx)
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq > latest })
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
