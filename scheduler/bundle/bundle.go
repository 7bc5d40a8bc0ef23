package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/timeline"
	"github.com/taskwall/taskwall/scheduler/whatif"
)

// Question is what a bundle answers: who could reach these systems in a period,
// and whom they could reach.
type Question struct {
	Taskwall string `json:"taskwall"` // "evidence"
	Version  int    `json:"version"`
	// Systems are apps by their ids, and network sets or networks by their names.
	Systems []string  `json:"systems"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	// Start is the record after whose state the fold begins: 0 of a whole bundle.
	Start uint64 `json:"start"`
	// Vouched says that a checkpoint signs that state; of a short bundle none does.
	Vouched bool `json:"vouched,omitempty"`
	// First and Last are the records that the bundle holds. Last is the first
	// signed one after the period, where there is one.
	First uint64    `json:"first"`
	Last  uint64    `json:"last"`
	Made  time.Time `json:"made"`
}

const (
	name    = "evidence"
	version = 4 // of all, the page's form included; 2 and 3 have other pages
)

// Answer is what follows from the records.
type Answer struct {
	whatif.Reached
	// Records is how many there are up to the period's end.
	Records uint64 `json:"records"`
	// Policies are the changes of policies in the period, and Standing the
	// latest before it.
	Policies []PolicyChange `json:"policies"`
	Standing *PolicyChange  `json:"standing,omitempty"`
	// Rules are the policies that the flows name, as last in force up to the
	// period's end, with who answers for them.
	Rules []Rule `json:"rules"`

	known time.Time // when the last of all records was received
}

// PolicyChange is a reviewed change, with its record.
type PolicyChange struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Author  string    `json:"author"`
	Commit  string    `json:"commit,omitempty"`
	Message string    `json:"message,omitempty"`
	Put     []string  `json:"put,omitempty"`
	Delete  []string  `json:"delete,omitempty"`
}

// Rule is a policy with the change that gave it its form.
type Rule struct {
	Policy string          `json:"policy"`
	File   string          `json:"file,omitempty"`
	Line   int             `json:"line,omitempty"`
	Origin events.Origin   `json:"origin"`
	Body   json.RawMessage `json:"body"`
}

// Source is where a bundle's records come from.
type Source interface {
	Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error]
	Checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error)
}

// answerer folds records into the answer.
type answerer struct {
	q      *Question
	before *scheduler.State // up to the period's beginning
	seq    uint64           // of the last record of the period
	policy []PolicyChange
	stand  *PolicyChange
	last   map[string]Rule // policies as last in force
}

// answer folds entries: those up to the period's beginning first, then those of
// the period. Entries after it are read to the end, so that who gives them
// checks them, too.
func answer(ctx context.Context, q *Question, start *scheduler.State, entries iter.Seq2[events.Entry, error]) (*Answer, error) {
	a := &answerer{q: q, before: start, last: map[string]Rule{}, seq: start.Seq()}
	known := start.Now()
	next, stop := iter.Pull2(func(yield func(events.Entry, error) bool) {
		for e, err := range entries {
			if known = later(known, e.Event.Received); !yield(e, err) {
				return
			}
		}
	})
	defer stop()
	e, err, more := next()
	for ; more && err == nil && !e.Event.Received.After(q.From); e, err, more = next() {
		if want := start.Seq() + 1; e.Seq != want {
			return nil, fmt.Errorf("record %d is missing: the records cannot be folded", want)
		}
		start.Apply(e)
		a.note(e, false)
	}
	if more && err != nil {
		return nil, err
	}
	a.rules(start)
	rest := func(yield func(events.Entry, error) bool) {
		for ; more; e, err, more = next() {
			if err == nil && !e.Event.Received.After(q.To) {
				a.note(e, true)
			}
			if !yield(e, err) || err != nil {
				return
			}
			if e.Event.Kind == events.PolicyApply {
				a.rules(start)
			}
		}
	}
	reached, err := whatif.Reaches(ctx, whatif.Options{State: start, Log: rest, From: q.From, To: q.To}, q.Systems)
	if err != nil {
		return nil, err
	}
	for ; more; e, err, more = next() { // those after the period
		if err != nil {
			return nil, err
		}
	}
	out := &Answer{Reached: *reached, Records: a.seq, Policies: a.policy, Standing: a.stand, Rules: []Rule{}, known: known}
	if out.Policies == nil {
		out.Policies = []PolicyChange{}
	}
	named := map[string]bool{}
	for _, list := range [][]whatif.Reach{out.In, out.Out} {
		for _, f := range list {
			for _, r := range f.Rules {
				named[r.Policy] = true
			}
		}
	}
	for _, policy := range events.SortedKeys(named) {
		if r, known := a.last[policy]; known {
			out.Rules = append(out.Rules, r)
		}
	}
	return out, nil
}

// note keeps an entry's place, and what it says of policies.
func (a *answerer) note(e events.Entry, inside bool) {
	a.seq = e.Seq
	if e.Event.Kind != events.PolicyApply {
		return
	}
	p := e.Event.Policy
	c := PolicyChange{Seq: e.Seq, Time: e.Event.Received, Author: p.Author, Commit: p.Commit, Message: p.Message}
	for i := range p.Put {
		c.Put = append(c.Put, p.Put[i].String())
	}
	for _, k := range p.Delete {
		c.Delete = append(c.Delete, k.String())
	}
	if inside {
		a.policy = append(a.policy, c)
	} else {
		a.stand = &c
	}
}

// rules keeps the policies as they are in force.
func (a *answerer) rules(s *scheduler.State) {
	commits := s.Commits()
	for _, r := range s.Resources() {
		a.last[r.String()] = Rule{Policy: r.String(), File: r.File, Line: r.Line, Origin: commits[r.String()], Body: r.Body}
	}
}

// Write makes a bundle of a question, of which Systems, From, To, Made and Vouched
// are given, and returns the answer; where the log ends before To, so does the
// period, right after the last record. The state is the snapshot from which it
// begins, all of which happened before From, and nil of a whole bundle. What the
// bundle is made of goes to a temporary file first, so that records need not be
// in memory.
func Write(ctx context.Context, w io.Writer, src Source, q Question, snapshot []byte) (*Answer, error) {
	a, err := assemble(ctx, w, src, q, snapshot)
	if err != nil {
		return nil, fmt.Errorf("making a bundle: %w", err)
	}
	return a, nil
}

func assemble(ctx context.Context, w io.Writer, src Source, q Question, snapshot []byte) (*Answer, error) {
	state := scheduler.NewState()
	if snapshot != nil {
		if err := state.UnmarshalBinary(snapshot); err != nil {
			return nil, err
		}
	}
	q.Taskwall, q.Version, q.Start, q.First = name, version, state.Seq(), state.Seq()+1
	q.From, q.To, q.Made = q.From.UTC(), q.To.UTC(), q.Made.UTC()
	if !q.From.Before(q.To) {
		return nil, fmt.Errorf("the period is empty: from %s to %s", q.From.Format(time.RFC3339), q.To.Format(time.RFC3339))
	}
	if err := q.begins(state); err != nil {
		return nil, err
	}
	checkpoints, err := src.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range checkpoints {
		if errors.Is(c.Err, history.ErrDamaged) {
			return nil, fmt.Errorf("reading the checkpoints: %w", c.Err)
		}
	}
	if err := q.end(ctx, src, checkpoints, snapshot); err != nil {
		return nil, err
	}
	records := func(yield func(*eventlog.Record, error) bool) {
		for r, err := range src.Records(ctx, q.First) {
			if err == nil && r.Seq > q.Last {
				return
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
	a, err := answer(ctx, &q, state, entriesOf(records))
	if err != nil {
		return nil, err
	}
	var kept []eventlog.Checkpoint
	for _, c := range checkpoints {
		if c.Seq >= q.Start && c.Seq <= q.Last && c.Seq > 0 {
			kept = append(kept, c)
		}
	}
	copied, err := os.CreateTemp("", "taskwall-bundle-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = copied.Close() // it is only read from now on
		_ = os.Remove(copied.Name())
	}()
	if err := eventlog.Copy(copied, q.First, q.Last, kept, records); err != nil {
		return nil, err
	}
	return a, pack(w, &q, snapshot, copied, a)
}

// errLate is of a state that has some of the period in it already: what
// happened there would not be told.
var errLate = errors.New("it holds records of the period itself")

// begins checks that the period has all its records after the state.
func (q *Question) begins(state *scheduler.State) error {
	if state.Now().After(q.From) {
		return fmt.Errorf("the state after record %d: %w", state.Seq(), errLate)
	}
	return nil
}

// end finds the last record to hold: the first signed one at or after the last
// of the period, or, when none is signed, that one. The checkpoint that vouches
// for the state that is begun from must be among them, since it is the chain from
// there on that tells of which log it is.
func (q *Question) end(ctx context.Context, src Source, checkpoints []eventlog.Checkpoint, snapshot []byte) error {
	var err error
	if q.Last, err = q.close(ctx, src); err != nil {
		return err
	}
	has := func(seq uint64) bool { // whether the log has that record
		for r, err := range src.Records(ctx, seq) {
			return err == nil && r.Seq == seq
		}
		return false
	}
	if q.Vouched {
		if !has(q.First) {
			return fmt.Errorf("no record comes after the state after record %d", q.Start)
		}
		vouching := vouchers(checkpoints, eventlog.MarkState(q.Start, snapshot))
		maps.DeleteFunc(vouching, func(_ string, seq uint64) bool { return !has(seq) })
		if len(vouching) == 0 {
			return fmt.Errorf("the state after record %d: %w", q.Start, eventlog.ErrUnsigned)
		}
		q.Last = max(q.Last, q.First, slices.Max(slices.Collect(maps.Values(vouching))))
	}
	if signed := firstSigned(checkpoints, q.Last); has(signed) {
		q.Last = max(q.Last, signed)
	}
	return nil
}

// close ends the period where the log does, if that is earlier, and returns the
// last record in it.
func (q *Question) close(ctx context.Context, src Source) (last uint64, err error) {
	last, known := q.Start, q.From
	for r, err := range src.Records(ctx, q.First) {
		if err != nil {
			return 0, err
		}
		e, err := r.Entry()
		if err != nil {
			return 0, err
		}
		at := e.Event.Received
		if known = later(known, at); !at.After(q.To) {
			last = r.Seq
		}
		if at.After(q.To.Add(timeline.Disorder)) {
			break // what comes is not of the period
		}
	}
	if end := known.Add(time.Nanosecond).UTC(); end.Before(q.To) {
		q.To = end // with what the last record made; what may come later is not proven
	}
	if !q.From.Before(q.To) {
		return 0, fmt.Errorf("the log ends at %s, before the period begins", known.Format(time.RFC3339))
	}
	return last, nil
}

// vouchers are the records that each key first signed together with a state.
func vouchers(checkpoints []eventlog.Checkpoint, state eventlog.StateMark) map[string]uint64 {
	by := map[string]uint64{}
	for _, c := range checkpoints {
		if first := by[c.Key]; c.State != nil && *c.State == state && (first == 0 || c.Seq < first) {
			by[c.Key] = c.Seq
		}
	}
	return by
}

// firstSigned is the first signed record from last on; 0 when there is none.
func firstSigned(checkpoints []eventlog.Checkpoint, last uint64) uint64 {
	first := uint64(0)
	for _, c := range checkpoints {
		if c.Seq >= last && (first == 0 || c.Seq < first) {
			first = c.Seq
		}
	}
	return first
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func entriesOf(records iter.Seq2[*eventlog.Record, error]) iter.Seq2[events.Entry, error] {
	return func(yield func(events.Entry, error) bool) {
		for r, err := range records {
			var e events.Entry
			if err == nil {
				e, err = r.Entry()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// pack writes the files of a bundle.
func pack(w io.Writer, q *Question, state []byte, log *os.File, a *Answer) error {
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	size, err := log.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = log.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	add := func(file string, size int64, from io.Reader) {
		if err == nil {
			err = out.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: size, ModTime: q.Made.Truncate(time.Second), Format: tar.FormatPAX})
		}
		if err == nil {
			_, err = io.Copy(out, from)
		}
	}
	bytesOf := func(file string, data []byte) { add(file, int64(len(data)), bytes.NewReader(data)) }
	bytesOf(readmeFile, []byte(readme))
	bytesOf(questionFile, encode(q))
	if state != nil {
		bytesOf(stateFile, state)
	}
	add(logFile, size, log)
	text := encode(a)
	if bytesOf(answerFile, text); err != nil {
		return err
	}
	page, err := render(q, a)
	if err == nil && max(len(text), len(page)) > maxAnswer {
		err = fmt.Errorf("the answer is %d MB long, which nobody could check or read: ask about fewer systems, or a shorter period", max(len(text), len(page))>>20)
	}
	if err != nil {
		return err
	}
	if bytesOf(reportFile, page); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return zip.Close()
}

const (
	readmeFile   = "README.txt"
	questionFile = "question.json"
	stateFile    = "state.bin"
	logFile      = "log.jsonl"
	answerFile   = "answer.json"
	reportFile   = "report.html"
)

const readme = `Evidence of a Taskwall cluster: who could reach the systems of question.json
in its period, and whom they could reach.

report.html   the answer, for people: open it in a browser, it needs no network
answer.json   the same, for programs
log.jsonl     the records that the answer follows from, each with the hash of the
              one before, and the checkpoints that sign them
state.bin     only of a bundle that does not begin with the log's first record: the
              state before its own first one, as the cluster's controller saved it.
              question.json says whether one of the checkpoints signs it

To check all of it: taskwall audit check-bundle FILE --trust checkpoint.pub
`

func encode(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("bundle: encoding: " + err.Error()) // plain data: cannot fail
	}
	return append(b, '\n')
}
