package proof

import (
	"errors"
	"fmt"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
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
	switch _, err := history.Remake(v.state, signed); {
	case err == nil:
		v.rep.Log.States++
	case errors.Is(err, scheduler.ErrForm):
		v.rep.note(Finding{Kind: KindLog, Since: at, Until: at, First: seq, Last: seq,
			What: fmt.Sprintf("the state here was signed in the form %q, this program's is %q: not compared", signed[0].State.Form, scheduler.SnapshotForm)})
	case errors.Is(err, eventlog.ErrAltered):
		v.rep.note(Finding{Kind: KindLog, Problem: true, Since: at, First: seq, Last: seq,
			What: "the state that the checkpoint of " + signed[0].Time.UTC().Format(time.RFC3339) + " vouches for is not the one that the log makes"})
	default:
		return fmt.Errorf("comparing a state with a checkpoint: %w", err)
	}
	return nil
}
