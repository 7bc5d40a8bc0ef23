package history

import (
	"context"
	"errors"
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
		if seq > at || seq >= last || !slices.ContainsFunc(states.At(seq), readable) {
			continue
		}
		s, err := h.StateAt(ctx, seq)
		if err != nil {
			return nil, nil, err
		}
		if s.Now().After(before) { // records lie nearly in the order of their times
			continue
		}
		data, err := Remake(s, states.At(seq))
		if err != nil && !errors.Is(err, eventlog.ErrAltered) && !errors.Is(err, scheduler.ErrForm) {
			return nil, nil, err
		}
		if err == nil {
			return s, data, nil
		}
	}
	return nil, nil, nil
}

// readable tells whether a checkpoint is of a state in a form that this program
// makes.
func readable(c eventlog.Checkpoint) bool { return scheduler.MakesForm(c.State.Form) }

// Remake is the snapshot of a state, as one of the checkpoints that vouch for the
// state after its record was signed for it. The error is eventlog.ErrAltered when
// it is another state, scheduler.ErrForm when all are in forms that can't be made.
func Remake(s *scheduler.State, signed []eventlog.Checkpoint) ([]byte, error) {
	err := scheduler.ErrForm
	for _, c := range signed {
		data, formErr := s.MarshalForm(c.State.Form)
		switch {
		case errors.Is(formErr, scheduler.ErrForm):
		case formErr != nil:
			return nil, fmt.Errorf("the state after record %d: %w", s.Seq(), formErr)
		case eventlog.MarkState(s.Seq(), data) == *c.State:
			return data, nil
		default:
			err = eventlog.ErrAltered
		}
	}
	return nil, fmt.Errorf("the state after record %d: %w", s.Seq(), err)
}
