package proof

import (
	"errors"
	"fmt"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
)

// compareState compares the state with those that checkpoints vouch for after
// its record: a state is signed so that later questions can start from it, and
// it must be the one that the log makes.
func (v *Verification) compareState(at time.Time) error {
	seq := v.state.Seq()
	signed := v.saved.At(seq)
	if len(signed) == 0 {
		return nil
	}
	data, err := v.state.MarshalBinary()
	if err != nil {
		return fmt.Errorf("comparing the state after record %d with a checkpoint: %w", seq, err)
	}
	switch err := v.saved.Check(seq, data); {
	case err == nil:
		v.rep.Log.States++
	case errors.Is(err, eventlog.ErrAltered) && !sameForm(signed):
		v.rep.note(Finding{Kind: KindLog, Since: at, Until: at, First: seq, Last: seq,
			What: fmt.Sprintf("the state here was signed in the form %q, this program's is %q: not compared", signed[0].State.Form, scheduler.SnapshotForm)})
	default:
		v.rep.note(Finding{Kind: KindLog, Problem: true, Since: at, First: seq, Last: seq,
			What: "the state that the checkpoint of " + signed[0].Time.UTC().Format(time.RFC3339) + " vouches for is not the one that the log makes"})
	}
	return nil
}

// sameForm tells whether one of the states has the form of this program's.
func sameForm(signed []eventlog.Checkpoint) bool {
	for _, c := range signed {
		if c.State.Form == scheduler.SnapshotForm {
			return true
		}
	}
	return false
}
