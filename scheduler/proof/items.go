package proof

import (
	"bytes"
	"fmt"
	"iter"
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// items compares the items that the log makes with those that were published,
// both in the order in which they are made: by cause, then by host.
type items struct {
	rep   *Report
	late  time.Duration
	until time.Time // nothing stored later is read; zero: no bound
	next  func() (work.Stored, error, bool)
	stop  func()
	took  func(*work.Stored, *work.Item) error // sees every published item, in order
	room  []byte                               // for an item that the log makes, as it would be published
	gone  func(*work.Item)                     // sees every item that the log makes and that is no longer kept

	head  *work.Stored // the next published item, which is ahead; nil: none
	ahead work.Stored
	itemsAtRest
}

type itemsAtRest struct {
	Seq     uint64                `json:"seq"`     // in the stream, of the last one read
	Stored  time.Time             `json:"stored"`  // when it was
	Epochs  map[string]uint64     `json:"epochs"`  // of the last one read, by host
	Rev     map[string]uint64     `json:"rev"`     // of the last one compared, by host
	Missing map[string]*work.Item `json:"missing"` // made and not published, by host and revision
	Unsent  []*work.Item          `json:"unsent"`  // those since the last one that was published
	Begun   bool                  `json:"begun"`   // one that was published was compared
	Bytes   int                   `json:"bytes"`   // of all that were published
}

func newItems(rep *Report, o Options, took func(*work.Stored, *work.Item) error, gone func(*work.Item)) *items {
	return &items{rep: rep, late: o.Late, until: o.To, took: took, gone: gone, itemsAtRest: itemsAtRest{Epochs: map[string]uint64{}, Rev: map[string]uint64{}, Missing: map[string]*work.Item{}}}
}

// read begins to read the published items.
func (i *items) read(list iter.Seq2[work.Stored, error]) error {
	i.next, i.stop = iter.Pull2(list)
	return i.advance()
}

// atRest is what to go on with. The item that was read ahead is read again.
func (i *items) atRest() itemsAtRest {
	rest := i.itemsAtRest
	if i.head != nil {
		rest.Seq = i.head.Seq - 1
	}
	return rest
}

// advance reads the next published item. One that can't be read is told of,
// and missed by the comparison. What was read before must have been taken.
func (i *items) advance() error {
	i.head = nil
	st, err, ok := i.next()
	for ok && err == nil && st.Err != nil {
		i.Seq = max(i.Seq, st.Seq)
		i.unreadable(&st, st.Err)
		st, err, ok = i.next()
	}
	switch {
	case !ok:
		return nil
	case err != nil:
		return fmt.Errorf("reading the published items: %w", err)
	case !i.until.IsZero() && st.Time.After(i.until):
		return nil
	}
	wrong := ""
	switch {
	case st.Seq <= i.Seq:
		wrong = fmt.Sprintf("stored at %d, after what was stored at %d: out of place", st.Seq, i.Seq)
	case st.Time.Add(clockStep).Before(i.Stored):
		wrong = fmt.Sprintf("stored at %d, out of place: before the one that it follows", st.Seq)
	case st.Epoch < i.Epochs[st.Host]: // the stream refuses who led before
		wrong = fmt.Sprintf("stored at %d by the leader of term %d, after one of term %d", st.Seq, st.Epoch, i.Epochs[st.Host])
	}
	if wrong != "" {
		i.rep.note(Finding{Kind: KindItem, Problem: true, Host: st.Host, Since: st.Time, Until: st.Time, First: st.Rev, Last: st.Rev, Cause: st.Cause, What: wrong})
	}
	i.Seq, i.Stored, i.Epochs[st.Host] = max(i.Seq, st.Seq), st.Time, st.Epoch
	i.rep.Items.Published++
	i.Bytes += len(st.Data)
	i.ahead = st
	i.head = &i.ahead
	return nil
}

func (i *items) unreadable(st *work.Stored, err error) {
	i.rep.note(Finding{Kind: KindItem, Problem: true, Host: st.Host, Since: st.Time, Until: st.Time, First: st.Rev, Last: st.Rev, Cause: st.Cause,
		What: fmt.Sprintf("what is stored at %d cannot be read: %v", st.Seq, err)})
}

// published reads the head, and tells when it can't be read.
func (i *items) published() *work.Item {
	it, err := i.head.Item()
	if err != nil {
		i.unreadable(i.head, err)
		return nil
	}
	return it
}

// pass hands the head on, if it could be read, and goes to the next.
func (i *items) pass(it *work.Item) error {
	i.Begun = true
	if it != nil {
		if err := i.took(i.head, it); err != nil {
			return err
		}
	}
	return i.advance()
}

// skip passes over the head without a comparison.
func (i *items) skip() error { return i.pass(i.published()) }

// compare takes an item that the log makes.
func (i *items) compare(made *work.Item) error {
	i.rep.Items.Made++
	for i.head != nil && i.head.Before(made.Key()) {
		if err := i.unexpected(); err != nil {
			return err
		}
	}
	if !i.Begun && i.head != nil && made.Key().Before(i.head.Key) {
		// Retention removes the oldest: before the first that is kept there were others.
		g := i.rep.Items.Gone
		if g == nil {
			g = &GoneItems{First: made.Cause, Kept: i.head.Time}
			i.rep.Items.Gone = g
		}
		g.Last, g.Made = made.Cause, made.Time
		g.Items++
		i.Rev[made.Host] = made.Rev
		i.gone(made)
		return nil
	}
	if i.head == nil || i.head.Cause != made.Cause || i.head.Host != made.Host {
		i.Unsent = append(i.Unsent, made)
		if len(i.Unsent) > maxPending {
			i.flush("made by the log, and not published when many later ones were")
		}
		return nil
	}
	i.flush("made by the log, but never published")
	i.Rev[made.Host] = made.Rev
	f := Finding{Kind: KindItem, Problem: true, Host: made.Host, Since: i.head.Time, Until: i.head.Time, First: made.Rev, Last: made.Rev, Cause: made.Cause}
	if it, equal := i.same(made); !equal {
		if it != nil {
			f.What = work.Difference(made, it)
			i.rep.note(f)
		}
		return i.pass(it)
	}
	i.rep.Items.Equal++
	if behind := i.head.Time.Sub(made.Time); behind > i.late {
		f.Kind, f.Problem, f.Since = KindLate, false, made.Time
		f.What = "published long after the event that made it"
		i.rep.note(f)
	}
	return i.pass(made)
}

// same compares the head with an item that the log makes: most are the same
// bytes, and need not be read. Of others it gives what was published, nil when
// that can't be read.
func (i *items) same(made *work.Item) (it *work.Item, equal bool) {
	text, err := work.AppendItem(i.room[:0], made)
	if i.room = text; err == nil && bytes.Equal(text, i.head.Data) {
		return made, true
	}
	it = i.published()
	return it, it != nil && work.Difference(made, it) == ""
}

// maxPending bounds the items that may be made and not yet published.
const maxPending = 100_000

// flush tells of items that were made and not published, though later ones were.
func (i *items) flush(what string) {
	for _, it := range i.Unsent {
		if len(i.Missing) < maxPending {
			i.Missing[key(it)] = it
		}
		i.rep.note(Finding{Kind: KindItem, Problem: true, Host: it.Host, Since: it.Time, First: it.Rev, Last: it.Rev, Cause: it.Cause, What: what})
	}
	i.Unsent = nil
}

// unexpected tells of a published item that the log does not make here.
func (i *items) unexpected() error {
	it := i.published()
	if it == nil {
		return i.pass(nil)
	}
	f := Finding{Kind: KindItem, Problem: true, Host: it.Host, Since: i.head.Time, Until: i.head.Time, First: it.Rev, Last: it.Rev, Cause: it.Cause,
		What: "published, but the log does not make it"}
	switch made := i.Missing[key(it)]; {
	case made != nil && work.Difference(made, it) == "":
		f.What = "published out of order, after later ones"
		delete(i.Missing, key(it))
	case it.Rev <= i.Rev[it.Host]:
		f.What = fmt.Sprintf("published again, after revision %d", i.Rev[it.Host])
	}
	i.rep.note(f)
	return i.pass(it)
}

// end takes what is left. What records after the last that was folded made is only
// read, and broken, all of it.
func (i *items) end(folded uint64, broken bool) error {
	for i.head != nil {
		if !broken && i.head.Cause <= folded {
			if err := i.unexpected(); err != nil {
				return err
			}
		} else if err := i.skip(); err != nil {
			return err
		}
	}
	if broken {
		i.Unsent = nil // what was published for them may lie behind the break
	}
	return nil
}

// pending tells of items that were to be published by now.
func (i *items) pending(now time.Time) {
	for _, it := range i.Unsent {
		if i.rep.Items.Pending++; now.Sub(it.Time) > i.late {
			i.rep.note(Finding{Kind: KindItem, Problem: true, Host: it.Host, Since: it.Time, First: it.Rev, Last: it.Rev, Cause: it.Cause,
				What: "made by the log, and not published by the end"})
		}
	}
}

func key(it *work.Item) string { return fmt.Sprintf("%d %s", it.Rev, it.Host) }
