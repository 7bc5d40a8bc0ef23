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
	// Untrusted counts the checkpoints with keys that were not to be trusted.
	Untrusted int
	Problems  []Problem
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
	v := newVerifier(checkpoints, l.o.Trust)
	if state.Msgs > 0 {
		v.expect(state.FirstSeq)
	}
	for msg, err := range bus.Fetch(ctx, l.js, bus.EventsStream, "", state.FirstSeq, state.LastSeq) {
		if err != nil {
			return nil, fmt.Errorf("verifying the event log: %w", err)
		}
		r, err := recordOf(msg.Sequence, msg.Header, msg.Data)
		if err != nil {
			v.unreadable(msg.Sequence, err)
			continue
		}
		v.record(r)
	}
	return v.end(state.LastSeq), nil
}

// verifier checks records as they come, in order, against each other and
// against checkpoints.
type verifier struct {
	rep         Report
	trust       []ed25519.PublicKey
	checkpoints []Checkpoint // by sequence; those before the current record are done
	next        uint64       // the record that is due; 0: any
	link        Hash         // of the record before it
	linked      bool         // link is known
}

func newVerifier(checkpoints []Checkpoint, trust []ed25519.PublicKey) *verifier {
	v := &verifier{trust: trust}
	for _, c := range checkpoints {
		switch err := c.check(trust); {
		case err == nil:
			v.checkpoints = append(v.checkpoints, c)
		case errors.Is(err, errUntrusted):
			v.rep.Untrusted++
		default:
			v.problem(c.Seq, c.Seq, "the checkpoint here is not what was signed: "+err.Error())
		}
	}
	slices.SortStableFunc(v.checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Seq, b.Seq) })
	return v
}

func (v *verifier) problem(from, to uint64, what string) {
	if len(v.rep.Problems) < maxProblems {
		v.rep.Problems = append(v.rep.Problems, Problem{from, to, what})
	}
}

// expect says which record comes first.
func (v *verifier) expect(seq uint64) { v.next = seq }

// arrive notes a record's place, readable or not.
func (v *verifier) arrive(seq uint64) {
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

func (v *verifier) unreadable(seq uint64, err error) {
	v.arrive(seq)
	v.problem(seq, seq, err.Error())
	v.linked = false
}

func (v *verifier) record(r *record) {
	v.arrive(r.seq)
	switch {
	case v.rep.Records == 1 && r.seq > 1:
		// The oldest record that is kept vouches for the one before it.
		v.witness(r.seq-1, r.prev)
	case v.linked && r.prev != v.link && r.seq == 1:
		v.problem(1, 1, "altered: it is not linked to the beginning")
	case v.linked && r.prev != v.link:
		v.problem(r.seq-1, r.seq, fmt.Sprintf("altered: the link in %d does not fit the content of %d", r.seq, r.seq-1))
	}
	if _, err := r.entry(); err != nil {
		v.problem(r.seq, r.seq, err.Error())
	}
	v.link, v.linked = r.hash(), true
	v.witness(r.seq, v.link)
}

// witness compares a record's hash with the checkpoints at its sequence.
func (v *verifier) witness(seq uint64, hash Hash) {
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

// end closes the report; last is where the log says that it ends.
func (v *verifier) end(last uint64) *Report {
	if v.next != 0 && v.next <= last {
		v.problem(v.next, last, "missing")
	}
	for _, c := range v.checkpoints {
		if c.Seq > last {
			v.problem(last+1, c.Seq, "missing at the end: a checkpoint was signed for them")
			break
		}
	}
	slices.SortStableFunc(v.rep.Problems, func(a, b Problem) int { return cmp.Compare(a.From, b.From) })
	return &v.rep
}

// Verify is Log.Verify for a copy. It reads the copy to its end.
func (x *Export) Verify(trust ...ed25519.PublicKey) (*Report, error) {
	v := newVerifier(x.Checkpoints, trust)
	for r, err := range x.records() {
		if err != nil {
			return nil, fmt.Errorf("verifying the copy of the event log: %w", err)
		}
		v.record(r)
	}
	return v.end(v.rep.Last), nil
}
