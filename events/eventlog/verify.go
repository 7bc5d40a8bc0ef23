package eventlog

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events/bus"
)

// Report is what Verify found.
type Report struct {
	First, Last uint64 // the records that were there; 0 of an empty log
	Records     uint64
	// Signed is the last record that a trusted checkpoint vouches for, with all
	// before it; after it only the chain speaks. Checkpoints counts them.
	Signed      uint64
	Checkpoints int
	// Untrusted counts the checkpoints with keys that were not to be trusted;
	// LastUntrusted is the record of the last of them.
	Untrusted     int
	LastUntrusted uint64
	Problems      []Problem
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Problem is a place where the log is not what was written.
type Problem struct {
	From, To uint64 // the records concerned, both included
	What     string
}

func (p Problem) String() string {
	if p.From == p.To {
		return fmt.Sprintf("record %d: %s", p.From, p.What)
	}
	return fmt.Sprintf("records %d to %d: %s", p.From, p.To, p.What)
}

// maxProblems bounds a Report: a log that is broken everywhere is not listed
// record by record.
const maxProblems = 1000

// Verify reads the whole log, checks each link of the chain and each
// checkpoint against Options.Trust, and says where something was removed or
// altered. An error means that the log could not be read to its end.
func (l *Log) Verify(ctx context.Context) (*Report, error) {
	// Checkpoints first: those written meanwhile are beyond the end that we read to.
	checkpoints, err := l.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("verifying the event log: %w", err)
	}
	state, err := bus.StreamState(ctx, l.js, bus.EventsStream)
	if err != nil {
		return nil, fmt.Errorf("verifying the event log: %w", err)
	}
	v := NewVerifier(checkpoints, l.o.Trust...)
	if state.Msgs > 0 {
		v.Expect(state.FirstSeq)
	}
	last := state.LastSeq
	for r, err := range l.Records(ctx, state.FirstSeq) {
		if err != nil {
			return nil, fmt.Errorf("verifying the event log: %w", err)
		}
		if v.Record(r); r.Seq > last {
			last = r.Seq
		}
	}
	return v.End(last), nil
}

// Verifier checks records as they come, in order, against each other and
// against checkpoints.
type Verifier struct {
	rep         Report
	trust       []ed25519.PublicKey
	checkpoints []Checkpoint // by sequence; those before the current record are done
	signed      bool         // there are checkpoints of trusted keys
	next        uint64       // the record that is due; 0: any
	link        Hash         // of the record before it
	linked      bool         // link is known
}

// NewVerifier checks against those of the checkpoints that a trusted key
// signed.
func NewVerifier(checkpoints []Checkpoint, trust ...ed25519.PublicKey) *Verifier {
	v := &Verifier{trust: trust}
	place, signed := uint64(1), uint64(0)
	places := map[string]uint64{} // by what was signed
	for _, c := range checkpoints {
		if c.Place > place {
			v.problem(min(signed+1, c.Seq), c.Seq, fmt.Sprintf("missing checkpoints: those numbered %d to %d", place, c.Place-1))
		}
		if c.Err != nil {
			v.problem(max(signed, 1), max(signed, 1), fmt.Sprintf("the checkpoint numbered %d cannot be read: %v", c.Place, c.Err))
			place = c.Place + 1
			continue
		}
		if c.Place > 0 {
			text := c.Key + "\n" + string(c.text())
			if first := places[text]; first > 0 {
				v.problem(signed, signed, fmt.Sprintf("the checkpoint numbered %d is a copy of the one numbered %d: the one that was written there is missing", c.Place, first))
				place = c.Place + 1
				continue
			}
			places[text] = c.Place
		}
		place, signed = c.Place+1, c.Seq
		switch err := c.Check(trust...); {
		case err == nil:
			v.checkpoints, v.signed = append(v.checkpoints, c), true
		case errors.Is(err, errUntrusted):
			v.rep.Untrusted++
			v.rep.LastUntrusted = max(v.rep.LastUntrusted, c.Seq)
		default:
			v.problem(c.Seq, c.Seq, "the checkpoint here is not what was signed: "+err.Error())
		}
	}
	slices.SortStableFunc(v.checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Seq, b.Seq) })
	return v
}

func (v *Verifier) problem(from, to uint64, what string) {
	if len(v.rep.Problems) < maxProblems {
		v.rep.Problems = append(v.rep.Problems, Problem{from, to, what})
	}
}

// Expect says which record comes first. Otherwise it may be any.
func (v *Verifier) Expect(seq uint64) { v.next = seq }

// arrive notes a record's place, readable or not.
func (v *Verifier) arrive(seq uint64) {
	switch {
	case v.next != 0 && seq > v.next:
		v.problem(v.next, seq-1, "missing")
		v.linked = false
	case seq < v.next:
		v.problem(seq, seq, "out of place")
		v.linked = false
	}
	if v.rep.First == 0 {
		v.rep.First = seq
		if seq == 1 {
			v.link, v.linked = Hash{}, true
		}
		// Checkpoints of records that retention has removed say nothing any more.
		for len(v.checkpoints) > 0 && v.checkpoints[0].Seq < seq-1 {
			v.checkpoints = v.checkpoints[1:]
		}
	}
	v.rep.Last = max(v.rep.Last, seq)
	v.rep.Records++
	v.next = seq + 1
}

func (v *Verifier) unreadable(seq uint64, err error) {
	v.arrive(seq)
	v.problem(seq, seq, err.Error())
	v.linked = false
}

// Record takes the next record.
func (v *Verifier) Record(r *Record) {
	if r.Err != nil {
		v.unreadable(r.Seq, r.Err)
		return
	}
	v.arrive(r.Seq)
	if r.Foreign() {
		var before *Hash
		if v.linked {
			before = &v.link
		}
		link := r.Link(before)
		if v.linked = link != nil; v.linked {
			v.link = *link
			v.witness(r.Seq, v.link)
		}
		return
	}
	switch {
	case v.rep.Records == 1 && r.Seq > 1:
		// The oldest record that is kept vouches for the one before it.
		v.witness(r.Seq-1, r.Prev)
	case v.linked && r.Prev != v.link && r.Seq == 1:
		v.problem(1, 1, "altered: it is not linked to the beginning")
	case v.linked && r.Prev != v.link:
		v.problem(r.Seq-1, r.Seq, fmt.Sprintf("altered: the link in %d does not fit the content of %d", r.Seq, r.Seq-1))
	}
	if _, err := r.Read(); err != nil {
		v.problem(r.Seq, r.Seq, err.Error())
	}
	v.link, v.linked = r.Hash(), true
	v.witness(r.Seq, v.link)
}

// witness compares a record's hash with the checkpoints at its sequence.
func (v *Verifier) witness(seq uint64, hash Hash) {
	for len(v.checkpoints) > 0 && v.checkpoints[0].Seq <= seq {
		c := v.checkpoints[0]
		v.checkpoints = v.checkpoints[1:]
		switch {
		case c.Seq < seq: // of a record that is missing
		case c.Hash == hash:
			v.rep.Signed = seq
			v.rep.Checkpoints++
		default:
			from := min(max(v.rep.Signed+1, v.rep.First), seq)
			v.problem(from, seq, "altered: not what the checkpoint of "+c.Time.UTC().Format(time.RFC3339)+" was signed for")
		}
	}
}

// Found counts the problems so far.
func (v *Verifier) Found() int { return len(v.rep.Problems) }

// End closes the report; last is where the log says that it ends.
func (v *Verifier) End(last uint64) *Report {
	if v.next != 0 && v.next <= last {
		v.problem(v.next, last, "missing")
	}
	for _, c := range v.checkpoints {
		if c.Seq > last {
			v.problem(last+1, c.Seq, "missing at the end: a checkpoint was signed for them")
			break
		}
	}
	v.vouched(last)
	slices.SortStableFunc(v.rep.Problems, func(a, b Problem) int { return cmp.Compare(a.From, b.From) })
	return &v.rep
}

// vouched tells of records that no trusted key vouches for though one should:
// who named keys to trust expects their signatures. The last records of a log
// wait for theirs.
func (v *Verifier) vouched(last uint64) {
	if len(v.trust) == 0 || last == 0 {
		return
	}
	from := max(v.rep.Signed+1, v.rep.First)
	switch {
	case v.rep.LastUntrusted > v.rep.Signed:
		v.problem(from, max(from, min(v.rep.LastUntrusted, last)), "no trusted key vouches for them, but another key does")
	case !v.signed:
		v.problem(from, last, "no trusted key vouches for them")
	}
}
