package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
)

// Vouched is the last state that all happened before, and that a checkpoint of a
// key given to Trust vouches for: the state, and its snapshot as it was signed.
// One that is no longer kept is folded again. It is nil when there is none, or
// when no record comes after it.
func (h *History) Vouched(ctx context.Context, before time.Time) (*scheduler.State, []byte, error) {
	states, err := h.vouched(ctx)
	if err != nil || states == nil {
		return nil, nil, err
	}
	_, last, err := h.src.bounds(ctx)
	if err != nil {
		return nil, nil, err
	}
	at, err := h.SeqAt(ctx, before)
	if err != nil {
		return nil, nil, err
	}
	for _, seq := range slices.Backward(states.Records()) {
		if seq > at || seq >= last || !slices.ContainsFunc(states.At(seq), ours) {
			continue
		}
		s, err := h.StateAt(ctx, seq)
		if err != nil {
			return nil, nil, err
		}
		if s.Now().After(before) { // records lie nearly in the order of their times
			continue
		}
		data, err := s.MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("the state after record %d: %w", seq, err)
		}
		if states.Check(seq, data) == nil {
			return s, data, nil
		}
	}
	return nil, nil, nil
}

// ours tells whether a checkpoint says what this program's snapshot of a state
// would be.
func ours(c eventlog.Checkpoint) bool { return c.State.Form == scheduler.SnapshotForm }
