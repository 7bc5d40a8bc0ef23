package proof

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// Verification is one reading of the past. It can be interrupted, written down
// and gone on with.
type Verification struct {
	src   Source
	o     Options
	rep   *Report
	chain *eventlog.Verifier
	marks *eventlog.ReportsVerifier
	saved *eventlog.States
	state *scheduler.State
	items *items
	hosts *hosts
	words *words

	read   uint64    // the last record read
	broken bool      // records are missing: the fold ended before
	ended  bool      // the fold ended with the period
	latest time.Time // when anything that was read was stored

	report     work.StoredReport // the next report
	more       bool              // there is one
	nextReport func() (work.StoredReport, error, bool)
	reportSeq  uint64 // of the last report taken
	cut        bool   // the reports were read up to the period's end

	gone map[string]string // hosts that are away at the end, and why
}

// New begins a verification. Checkpoints of other keys than trust prove nothing.
func New(ctx context.Context, src Source, o Options, trust ...ed25519.PublicKey) (*Verification, error) {
	if o.Late == 0 {
		o.Late = DefaultLate
	}
	if o.Limit == 0 {
		o.Limit = LeastLimit
	}
	checkpoints, err := src.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoints: %w", err)
	}
	rep := &Report{From: o.From, To: o.To, Findings: []Finding{}}
	for _, c := range o.Expect {
		if slices.ContainsFunc(checkpoints, func(o eventlog.Checkpoint) bool { return o.Seq == c.Seq && o.Signature == c.Signature }) {
			continue
		}
		checkpoints = append(checkpoints, c)
		rep.note(Finding{Kind: KindLog, Problem: true, First: c.Seq, Last: c.Seq,
			What: "the checkpoint of " + c.Time.UTC().Format(time.RFC3339) + ", which was kept elsewhere, is missing"})
	}
	v := &Verification{
		src: src, o: o, rep: rep, chain: eventlog.NewVerifier(checkpoints, trust...),
		marks: eventlog.NewReportsVerifier(checkpoints, trust...), saved: eventlog.NewStates(checkpoints, trust...),
		hosts: newHosts(rep, o.Late), words: newWords(rep, o.Late),
	}
	v.items = newItems(rep, o, v.published, v.hosts.made)
	return v, nil
}

// Run reads to the end and says what it found. When ctx ends before, it returns
// ctx's error; the verification can then be written down, and Run again.
func (v *Verification) Run(ctx context.Context) (*Report, error) {
	var stop func()
	v.nextReport, stop = iter.Pull2(v.src.Reports(ctx, v.reportSeq+1))
	defer stop()
	if err := v.advanceReport(); err != nil {
		return nil, err
	}
	if v.reportSeq == 0 && v.more && v.report.Seq > 1 && v.report.Err == nil {
		v.rep.Hosts.First, v.rep.Hosts.Since = v.report.Seq, v.report.Stored
	}
	defer func() {
		if v.items.stop != nil {
			v.items.stop()
		}
	}()
	if err := v.items.read(v.src.Items(ctx, v.items.Seq+1)); err != nil {
		return nil, err
	}
	for r, err := range v.src.Records(ctx, v.read+1) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = v.record(ctx, r)
		}
		if err != nil {
			return nil, fmt.Errorf("after record %d: %w", v.read, err)
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("after record %d: %w", v.read, context.Cause(ctx))
	}
	return v.end(ctx)
}

// record takes the next record of the log.
func (v *Verification) record(ctx context.Context, r *eventlog.Record) error {
	v.chain.Record(r)
	if v.state == nil {
		if err := v.start(ctx, r.Seq); err != nil {
			return err
		}
	}
	v.read = max(v.read, r.Seq)
	if r.Foreign() {
		e, _ := r.Read() // it always can be
		v.rep.note(Finding{Kind: KindLog, Since: e.Event.Received, Until: e.Event.Received, First: r.Seq, Last: r.Seq,
			What: fmt.Sprintf("a message of %d bytes that no controller wrote: somebody published into the log's stream; nothing followed from it", len(r.Data))})
	}
	v.rep.Log.Records++
	if v.o.Progress != nil && v.rep.Log.Records%progressEvery == 0 {
		v.o.Progress(Progress{Records: v.rep.Log.Records, Last: r.Seq, Time: v.state.Now()})
	}
	if v.broken || v.ended || r.Seq <= v.state.Seq() {
		return nil // the chain alone goes on to the log's end
	}
	e, err := r.Read()
	if want := v.state.Seq() + 1; err != nil || r.Seq != want {
		v.broken = true
		v.rep.note(Finding{Kind: KindItem, Problem: true, Since: v.state.Now(), First: want, Last: r.Seq,
			What: "the log cannot be folded from here on: what was published for later records was not compared with it"})
		return nil
	}
	if !v.o.To.IsZero() && e.Event.Received.After(v.o.To) {
		v.ended = true
		return nil
	}
	if v.rep.Log.Begin.IsZero() {
		v.rep.Log.Begin = e.Event.Received
	}
	v.see(e.Event.Received)
	v.words.record(e)
	for _, it := range v.state.Apply(*e) {
		if err := v.items.compare(it); err != nil {
			return err
		}
	}
	return v.compareState(e.Event.Received)
}

// progressEvery is how many records go by between two reports of progress.
const progressEvery = 10_000

// start makes the state from which the fold begins.
func (v *Verification) start(ctx context.Context, first uint64) error {
	v.state = scheduler.NewState()
	if first <= 1 {
		return nil
	}
	s, err := v.src.Start(ctx, first)
	if err != nil {
		return fmt.Errorf("finding a snapshot to fold from: %w", err)
	}
	v.state, v.rep.Log.Start = s, s.Seq()
	v.words.Folded = s.LastReport()
	if err := v.compareState(s.Now()); err != nil {
		return err
	}
	v.rep.Log.StartSigned = v.rep.Log.States > 0
	// What was published before is not compared with anything.
	for v.items.head != nil && v.items.head.Cause <= s.Seq() {
		v.rep.Items.Before++
		if err := v.items.skip(); err != nil {
			return err
		}
	}
	return nil
}

// published brings the hosts up to an item that was published, and to what was
// reported before it.
func (v *Verification) published(st *work.Stored, it *work.Item) error {
	if err := v.reportsUntil(st.Time); err != nil {
		return err
	}
	v.see(st.Time)
	v.hosts.publish(st, it)
	return nil
}

func (v *Verification) reportsUntil(t time.Time) error {
	for v.more && (t.IsZero() || !v.report.Stored.After(t)) {
		r := &v.report
		v.see(r.Stored)
		v.marks.Take(r.Seq, r.Stored, r.Host, r.Data)
		v.words.report(r)
		v.hosts.report(r)
		v.reportSeq = max(v.reportSeq, r.Seq)
		if err := v.advanceReport(); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verification) advanceReport() error {
	v.more = false
	r, err, ok := v.nextReport()
	switch {
	case !ok:
		return nil
	case err == nil && !v.o.To.IsZero() && r.Stored.After(v.o.To):
		v.cut = true
		return nil
	case err != nil:
		return fmt.Errorf("reading the reports: %w", err)
	}
	v.report, v.more = r, true
	return nil
}

func (v *Verification) see(t time.Time) {
	if t.After(v.latest) {
		v.latest = t
	}
}

// end takes what is left and closes the report.
func (v *Verification) end(ctx context.Context) (*Report, error) {
	if v.state == nil {
		v.state = scheduler.NewState()
	}
	folded := uint64(math.MaxUint64)
	if v.broken || v.ended {
		folded = v.state.Seq()
	}
	if err := v.items.end(folded, v.broken); err != nil {
		return nil, err
	}
	if err := v.reportsUntil(time.Time{}); err != nil {
		return nil, err
	}
	now := v.latest
	if v.o.Now.After(now) {
		now = v.o.Now
	}
	if !v.o.To.IsZero() && (now.After(v.o.To) || v.o.To.Before(v.o.Now)) {
		now = v.o.To
	}
	v.items.pending(now)
	// A report is stored before the log speaks of it: in live streams it is there now.
	live := !v.o.Now.IsZero()
	if last := v.words.beyond(); live && last > 0 {
		for r, err := range v.src.Reports(ctx, v.words.Next) {
			if err != nil {
				return nil, fmt.Errorf("reading the reports: %w", err)
			}
			if r.Seq > last {
				break
			}
			v.words.hear(&r)
		}
	}
	v.words.end(now, live)
	v.hosts.end(now, v.away)
	v.rep.Log.End, v.rep.Log.Folded = v.state.Now(), v.state.Seq()
	snapshots, err := v.src.CheckSnapshots(ctx, v.saved)
	if err != nil {
		return nil, err
	}
	v.rep.take(v.chain.End(v.read), snapshots)
	v.rep.takeItems(v.items.Bytes, v.o.Limit)
	v.rep.takeReports(v.marks, !v.cut, v.o.Limit)
	v.rep.sort()
	return v.rep, nil
}

// away says why a host need not answer, at the end; "" when it must.
func (v *Verification) away(name string) string {
	if v.gone == nil {
		v.gone = map[string]string{}
		for _, h := range v.state.View().Hosts {
			if h.State == "gone" || h.State == "unreachable" {
				v.gone[h.Name] = h.State
			}
		}
	}
	return v.gone[name]
}

// atRest is the form of a Verification when it is written down.
type atRest struct {
	Version int                       `json:"version"`
	From    time.Time                 `json:"from,omitzero"`
	To      time.Time                 `json:"to,omitzero"`
	Late    time.Duration             `json:"late"`
	Read    uint64                    `json:"read"`
	Reports uint64                    `json:"reports"`
	Broken  bool                      `json:"broken"`
	Ended   bool                      `json:"ended"`
	Latest  time.Time                 `json:"latest"`
	Report  *Report                   `json:"report"`
	Kept    map[Kind]int              `json:"kept"`
	Chain   *eventlog.Verifier        `json:"chain"`
	Marks   *eventlog.ReportsVerifier `json:"marks"`
	State   *scheduler.State          `json:"state"`
	Items   itemsAtRest               `json:"items"`
	Hosts   map[string]*host          `json:"hosts"`
	Words   wordsAtRest               `json:"words"`
}

const restVersion = 4

// MarshalJSON writes down how far an interrupted Run has come.
func (v *Verification) MarshalJSON() ([]byte, error) {
	rep := *v.rep
	if v.items.head != nil { // it is read again
		rep.Items.Published--
	}
	return json.Marshal(atRest{
		Version: restVersion, From: v.o.From, To: v.o.To, Late: v.o.Late,
		Read: v.read, Reports: v.reportSeq, Broken: v.broken, Ended: v.ended, Latest: v.latest,
		Report: &rep, Kept: rep.kept, Chain: v.chain, Marks: v.marks, State: v.state,
		Items: v.items.atRest(), Hosts: v.hosts.all, Words: v.words.wordsAtRest,
	})
}

// errOther means that what was written down is of another verification.
var errOther = errors.New("it is of another verification: other times, or another form; remove it to begin anew")

// UnmarshalJSON brings a new Verification of the same source and options to
// where one that was written down had come.
func (v *Verification) UnmarshalJSON(data []byte) error {
	a := atRest{Chain: v.chain, Marks: v.marks}
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("going on with a verification: %w", err)
	}
	if a.Version != restVersion || !a.From.Equal(v.o.From) || !a.To.Equal(v.o.To) || a.Late != v.o.Late || a.Report == nil {
		return fmt.Errorf("going on with a verification: %w", errOther)
	}
	v.read, v.reportSeq, v.broken, v.ended, v.latest, v.state = a.Read, a.Reports, a.Broken, a.Ended, a.Latest, a.State
	*v.rep = *a.Report
	v.rep.kept = a.Kept
	v.items.itemsAtRest, v.hosts.all, v.words.wordsAtRest = a.Items, a.Hosts, a.Words
	for _, place := range a.Words.Matched {
		v.words.done[place] = true
	}
	return nil
}
