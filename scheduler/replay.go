package scheduler

import (
	"fmt"
	"iter"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Replayed is the result of folding a log again and comparing what it makes
// with what was published.
type Replayed struct {
	Events     int `json:"events"`     // folded
	Items      int `json:"items"`      // that the fold made
	Published  int `json:"published"`  // that were found in the stream
	Equal      int `json:"equal"`      // of both, byte for byte
	Unsent     int `json:"unsent"`     // made by the fold and not (yet) published
	Unexpected int `json:"unexpected"` // published and not made by the fold
	// First is the first difference; nil when there is none. Items that the
	// last events made may still be on their way: Unsent alone is no difference
	// as long as nothing was published after them.
	First *Difference `json:"first,omitempty"`
	State *State      `json:"-"` // at the end
}

// Difference is an item that was not published as the log says.
type Difference struct {
	Host      string     `json:"host"`
	Rev       uint64     `json:"rev"`
	Cause     uint64     `json:"cause"` // log sequence
	What      string     `json:"what"`
	Made      *work.Item `json:"made,omitempty"`      // by the fold
	Published *work.Item `json:"published,omitempty"` // found in the stream
}

// Replay folds the entries from the first on, and compares the items that they
// make with the published ones, both in the order in which they were made.
// progress, if not nil, is called with the number of events folded, now and
// then.
func Replay(log iter.Seq2[events.Entry, error], published iter.Seq2[*work.Item, error], progress func(events int)) (Replayed, error) {
	r := Replayed{State: NewState()}
	next, stop := iter.Pull2(published)
	defer stop()
	differ := func(d Difference) {
		if r.First == nil {
			r.First = &d
		}
	}
	var missing *work.Item // the first unsent item, a difference once another was published after it
	take := func() (*work.Item, error) {
		it, err, ok := next()
		if !ok {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the published items: %w", err)
		}
		r.Published++
		return it, nil
	}
	head, err := take()
	if err != nil {
		return r, err
	}
	for entry, err := range log {
		if err != nil {
			return r, fmt.Errorf("reading the log after entry %d: %w", r.State.Seq(), err)
		}
		if want := r.State.Seq() + 1; entry.Seq != want {
			return r, fmt.Errorf("the log goes from entry %d to %d: %d entries are missing, the fold cannot be trusted from there",
				want-1, entry.Seq, entry.Seq-want)
		}
		made := r.State.Apply(entry)
		if r.Events++; progress != nil && r.Events%10_000 == 0 {
			progress(r.Events)
		}
		for _, it := range made {
			r.Items++
			// What was published between, and the fold did not make.
			for head != nil && head.Key().Before(it.Key()) {
				r.Unexpected++
				differ(Difference{Host: head.Host, Rev: head.Rev, Cause: head.Cause, Published: head,
					What: "published, but the log does not make it"})
				if head, err = take(); err != nil {
					return r, err
				}
			}
			if head == nil || head.Cause != it.Cause || head.Host != it.Host {
				r.Unsent++
				if missing == nil {
					missing = it
				}
				continue
			}
			if missing != nil {
				differ(Difference{Host: missing.Host, Rev: missing.Rev, Cause: missing.Cause, Made: missing,
					What: "made by the log, but never published"})
			}
			if what := work.Difference(it, head); what != "" {
				differ(Difference{Host: it.Host, Rev: it.Rev, Cause: it.Cause, Made: it, Published: head, What: what})
			} else {
				r.Equal++
			}
			if head, err = take(); err != nil {
				return r, err
			}
		}
	}
	for head != nil {
		r.Unexpected++
		differ(Difference{Host: head.Host, Rev: head.Rev, Cause: head.Cause, Published: head,
			What: "published, but the log does not make it"})
		if head, err = take(); err != nil {
			return r, err
		}
	}
	return r, nil
}
