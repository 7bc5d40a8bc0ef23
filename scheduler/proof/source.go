package proof

import (
	"context"
	"iter"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Source is where the past is read from. The lists begin at a sequence of
// their stream, or at the oldest that is kept, and end with the first failure
// to read on. What is missing, out of place or not readable is no failure: it
// is what Verify is to find.
type Source interface {
	Checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error)
	Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error]
	Items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error]
	Reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error]
	// Start is the state of the first snapshot from which a log can be folded that
	// begins with a record. A checkpoint may vouch for it.
	Start(ctx context.Context, first uint64) (*scheduler.State, error)
	// CheckSnapshots are those kept that are not what was signed.
	CheckSnapshots(ctx context.Context, states *eventlog.States) ([]eventlog.Problem, error)
}

// Options say what to look for.
type Options struct {
	// From and To bound the time of what is told; zero: no bound. The log is
	// read from its beginning all the same: a fold needs all that was before.
	From, To time.Time
	// Late is how long an item may be without an answer; zero: DefaultLate.
	Late time.Duration
	// Limit is the least size in bytes to which retention may have bounded WORK and
	// REPORTS; zero: LeastLimit. What it leaves less of, somebody else removed.
	Limit int
	// Expect are checkpoints of trusted keys that were kept elsewhere: the log
	// must reach them, and hold them.
	Expect []eventlog.Checkpoint
	// Now is the time up to which a live source is looked at; zero for a copy,
	// which ends with what it holds.
	Now time.Time
	// Progress, which may be nil, is called now and then.
	Progress func(Progress)
}

// LeastLimit is the least that a controller takes for --retention-bytes.
const LeastLimit = 64 << 20

// DefaultLate is longer than a controller takes to be replaced by another.
const DefaultLate = time.Minute

// Progress is how far Verify has come.
type Progress struct {
	Records uint64
	Last    uint64    // record that was read
	Time    time.Time // when it was received
}
