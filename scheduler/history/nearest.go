package history

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
)

// snapshots say which of the stored ones are used.
type snapshots struct {
	trust []ed25519.PublicKey

	mu     sync.Mutex
	states *eventlog.States // nil: not read yet
	passed map[uint64]error
}

// Passed is a snapshot that was not used.
type Passed struct {
	Seq uint64
	Err error // eventlog.ErrUnsigned, eventlog.ErrAltered, ErrDamaged, or of its content
}

// Trust has states folded only from snapshots that a checkpoint of one of the
// keys vouches for. Those that are passed over are listed by Passed.
func (h *History) Trust(keys ...ed25519.PublicKey) { h.trust = keys }

// Passed are the snapshots that were not used though they lay nearer.
func (h *History) Passed() []Passed {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Passed
	for _, seq := range slices.Sorted(maps.Keys(h.passed)) {
		all = append(all, Passed{seq, h.passed[seq]})
	}
	return all
}

func (h *History) pass(seq uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passed == nil {
		h.passed = map[uint64]error{}
	}
	h.passed[seq] = err
}

// vouched are the states that trusted keys vouch for; nil: all are taken on trust.
func (h *History) vouched(ctx context.Context) (*eventlog.States, error) {
	if len(h.trust) == 0 {
		return nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.states == nil {
		checkpoints, err := h.src.checkpoints(ctx)
		if err == nil {
			err = undamaged(checkpoints)
		}
		if err != nil {
			return nil, fmt.Errorf("reading what vouches for snapshots: %w", err)
		}
		h.states = eventlog.NewStates(checkpoints, h.trust...)
	}
	return h.states, nil
}

// undamaged is the error of the first checkpoint that a copy has lost.
func undamaged(checkpoints []eventlog.Checkpoint) error {
	for _, c := range checkpoints {
		if errors.Is(c.Err, ErrDamaged) {
			return c.Err
		}
	}
	return nil
}

// nearest is the last state at or before a record that need not be folded: of a
// snapshot, or the empty one.
func (h *History) nearest(ctx context.Context, seq uint64) (*scheduler.State, error) {
	if h.bare || seq == 0 {
		return scheduler.NewState(), nil
	}
	states, err := h.vouched(ctx)
	if err != nil {
		return nil, err
	}
	all, err := h.src.stored(ctx)
	if err != nil {
		return nil, fmt.Errorf("searching for a snapshot: %w", err)
	}
	for _, at := range slices.Backward(all) {
		if at > seq {
			continue
		}
		s, err := h.snapshotAt(ctx, at, states)
		if err != nil {
			return nil, err
		}
		if s != nil {
			return s, nil
		}
	}
	return scheduler.NewState(), nil
}

// snapshotAt is the state of a snapshot, or nil of one that is passed over: one
// of another version of this program, too.
func (h *History) snapshotAt(ctx context.Context, seq uint64, states *eventlog.States) (*scheduler.State, error) {
	if states != nil && len(states.At(seq)) == 0 {
		h.pass(seq, eventlog.ErrUnsigned)
		return nil, nil
	}
	data, whole, err := h.src.snapshot(ctx, seq)
	if err != nil {
		return nil, fmt.Errorf("reading a snapshot: %w", err)
	}
	if !whole {
		h.pass(seq, ErrDamaged)
		return nil, nil
	}
	if states != nil {
		if err := states.Check(seq, data); err != nil {
			h.pass(seq, err)
			return nil, nil
		}
	}
	s := scheduler.NewState()
	err = s.UnmarshalBinary(data)
	if err == nil && s.Seq() != seq {
		err = fmt.Errorf("%w: it is of record %d", ErrDamaged, s.Seq())
	}
	if err != nil {
		h.pass(seq, err)
		return nil, nil
	}
	return s, nil
}

// CheckSnapshots compares the snapshots that are kept with what checkpoints
// vouch for. Those of which none speaks are not looked at: they count for
// nothing with who trusts keys.
func (h *History) CheckSnapshots(ctx context.Context, states *eventlog.States) ([]eventlog.Problem, error) {
	all, err := h.src.stored(ctx)
	if err != nil {
		return nil, fmt.Errorf("checking the snapshots: %w", err)
	}
	var found []eventlog.Problem
	for _, seq := range all {
		if len(states.At(seq)) == 0 {
			continue
		}
		data, whole, err := h.src.snapshot(ctx, seq)
		if err != nil {
			return nil, fmt.Errorf("checking the snapshots: %w", err)
		}
		err = ErrDamaged
		if whole {
			err = states.Check(seq, data)
		}
		if err != nil && !errors.Is(err, eventlog.ErrUnsigned) {
			found = append(found, eventlog.Problem{From: seq, To: seq, What: "the snapshot here is " + err.Error()})
		}
	}
	return found, nil
}
