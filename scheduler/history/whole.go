package history

import (
	"context"
	"fmt"
	"iter"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// WholeReports are Reports for who tells what hosts said, from the first that
// there must be. What is not there comes in its place, as a report of no host
// with its Err set: eventlog.ErrGone before the first that is kept, ErrDamaged
// where a copy is, and eventlog.ErrMissing.
func (h *History) WholeReports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return func(yield func(work.StoredReport, error) bool) {
		next, why := max(from, 1), eventlog.ErrGone
		var bad *work.StoredReport // damage; how much there is damaged the next whole one tells
		give := func(end string) bool {
			if bad == nil {
				return true
			}
			gap := *bad
			gap.Err = fmt.Errorf("reports %d %s: %w", gap.Seq, end, gap.Err)
			bad = nil
			return yield(gap, nil)
		}
		for r, err := range h.src.reports(ctx, next) {
			if err != nil {
				yield(r, err)
				return
			}
			damage := r.Err != nil && r.Host == ""
			if r.Seq > next && bad == nil {
				bad = &work.StoredReport{Stored: r.Stored, Err: why}
				bad.Seq = next
			}
			if !damage && !give(fmt.Sprintf("to %d", r.Seq-1)) {
				return
			}
			next, why = max(next, r.Seq+1), eventlog.ErrMissing
			switch {
			case !damage:
				if !yield(r, nil) {
					return
				}
			case bad == nil:
				bad = &r
			}
		}
		give("and after")
	}
}
