package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
)

// Between two snapshots are at least so many records, and one for each so many
// bytes of the last: snapshots then take no more room than the log.
const (
	leastEvery    = 10_000
	bytesPerEvent = 200
)

// Index folds a copy from its last snapshot that this program reads and adds
// snapshots on the way, so that states are found fast. It says how many it
// added. Where a checkpoint vouches for a state, its snapshot is that one's: those
// who trust keys can start from it. An interrupted call is gone on with by the next.
func Index(ctx context.Context, dir string, o CopyOptions) (added int, err error) {
	h, err := Open(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	first, last, err := h.src.bounds(ctx)
	if err != nil || last == 0 {
		return 0, err
	}
	have, err := snapshotsIn(dir)
	if err != nil {
		return 0, err
	}
	apart := func(size int64) uint64 {
		if o.Every > 0 {
			return o.Every
		}
		return max(leastEvery, uint64(size)/bytesPerEvent) //nolint:gosec // not negative
	}
	every := apart(0)
	// Where the stored ones leave too wide a gap, it is filled from its beginning.
	from, gap := uint64(0), last
	for _, s := range have {
		if s.seq > from+2*every {
			gap = s.seq
			break
		}
		info, err := os.Stat(s.path)
		if err != nil {
			return 0, fmt.Errorf("looking at the snapshots: %w", err)
		}
		from, every = s.seq, apart(info.Size())
	}
	if gap-from < every {
		return 0, nil
	}
	s, err := h.nearest(ctx, from)
	if err == nil && s.Seq()+1 < first {
		s, err = h.Start(ctx, first)
	}
	if errors.Is(err, eventlog.ErrGone) {
		return 0, nil // nothing to fold from
	}
	if err != nil {
		return 0, err
	}
	checkpoints, err := h.src.checkpoints(ctx)
	if err == nil {
		err = undamaged(checkpoints)
	}
	if err != nil {
		return 0, fmt.Errorf("indexing the copy: %w", err)
	}
	signed := statesOf(checkpoints)
	saved := s.Seq()
	for e, err := range h.Entries(ctx, s.Seq()+1) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return added, fmt.Errorf("indexing the copy after record %d: %w", s.Seq(), err)
		}
		if s.Apply(e); e.Seq%10_000 == 0 && o.Progress != nil {
			o.Progress(Progress{"SNAPSHOTS", e.Seq, last})
		}
		if e.Seq-saved < every || slices.ContainsFunc(have, func(k kept) bool { return k.seq == e.Seq }) {
			continue
		}
		// One that a checkpoint vouches for is of use to those who trust keys, too.
		if next := signed.next(e.Seq); next > e.Seq && next < saved+2*every {
			continue
		}
		data, err := signed.snapshot(s)
		if errors.Is(err, eventlog.ErrAltered) || errors.Is(err, scheduler.ErrForm) {
			continue // it would be taken for one that was altered
		}
		if err != nil {
			return added, fmt.Errorf("writing the state at %d: %w", e.Seq, err)
		}
		size, err := writeSnapshot(dir, e.Seq, data)
		if err != nil {
			return added, err
		}
		saved, every = e.Seq, apart(int64(size))
		added++
	}
	return added, nil
}

// signedStates are what checkpoints say of states in forms that this program
// makes, whoever signed.
type signedStates struct {
	at []uint64 // records, in order
	by map[uint64][]eventlog.Checkpoint
}

func statesOf(checkpoints []eventlog.Checkpoint) *signedStates {
	s := &signedStates{by: map[uint64][]eventlog.Checkpoint{}}
	for _, c := range checkpoints {
		if c.State != nil && readable(c) {
			s.at = append(s.at, c.State.Seq)
			s.by[c.State.Seq] = append(s.by[c.State.Seq], c)
		}
	}
	slices.Sort(s.at)
	return s
}

// next is the first such record at or after one; 0: there is none.
func (s *signedStates) next(seq uint64) uint64 {
	if i, _ := slices.BinarySearch(s.at, seq); i < len(s.at) {
		return s.at[i]
	}
	return 0
}

// snapshot is that of a state, as it was signed if it was; see Remake.
func (s *signedStates) snapshot(state *scheduler.State) ([]byte, error) {
	if signed := s.by[state.Seq()]; len(signed) > 0 {
		return Remake(state, signed)
	}
	return state.MarshalBinary()
}
