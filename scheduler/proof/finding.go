package proof

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
)

// Kind says what a finding is about.
type Kind string

// The kinds of findings, in the order in which they are told.
const (
	KindLog     Kind = "log"     // the log is not what was written
	KindItem    Kind = "item"    // what was published is not what the log says
	KindReport  Kind = "report"  // the reports are not what was stored, or contradict the log
	KindPicture Kind = "picture" // a host applied something else than was published
	KindFailed  Kind = "failed"  // a host could not apply a part
	KindWaiting Kind = "waiting" // an item was not applied for long
	KindSilent  Kind = "silent"  // a host that had work said nothing for long
	KindLate    Kind = "late"    // an item was published long after its event
	KindDrift   Kind = "drift"   // a host found its kernel changed, and mended it
)

var kinds = []Kind{KindLog, KindItem, KindReport, KindPicture, KindFailed, KindWaiting, KindSilent, KindLate, KindDrift}

// Finding is one thing that an auditor should know.
type Finding struct {
	Kind Kind `json:"kind"`
	// Problem marks what is not as it must be, or was not at the end of the
	// period. What was mended or made up for is told without it.
	Problem bool   `json:"problem"`
	Host    string `json:"host,omitempty"`
	// Since and Until are the time that it concerns, by the clock of the server
	// that stored the item or report; of the log, by its records. Until is
	// absent of what lasted beyond the end.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// First and Last are records of the log (kinds log, item), revisions of the
	// host, or reports of the stream (kind report).
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Cause is the record that made the item, if it is about one.
	Cause uint64 `json:"cause,omitempty"`
	What  string `json:"what"`
}

// Report is what Verify found.
type Report struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Log is about the records and their chain.
	Log LogReport `json:"log"`
	// Items are counted up to the end of the period.
	Items ItemCount `json:"items"`
	Hosts HostCount `json:"hosts"`

	Findings []Finding `json:"findings"`
	// More counts, by kind, the findings beyond the first thousand of a kind.
	More map[Kind]int `json:"more,omitempty"`

	kept map[Kind]int
}

// LogReport says which records there were.
type LogReport struct {
	First   uint64    `json:"first"`
	Last    uint64    `json:"last"`
	Records uint64    `json:"records"`
	Begin   time.Time `json:"begin,omitzero"`
	End     time.Time `json:"end,omitzero"`
	// Signed is the last record that a trusted checkpoint vouches for, with all
	// before it; 0: none. Checkpoints counts those, Untrusted the others.
	Signed      uint64 `json:"signed"`
	Checkpoints int    `json:"checkpoints"`
	Untrusted   int    `json:"untrusted"`
	// Start is the snapshot that the fold started from; 0: it started from the
	// first record. It is taken on trust unless StartSigned. Folded is the last
	// record that was folded.
	Start       uint64 `json:"start,omitempty"`
	StartSigned bool   `json:"start_signed,omitempty"`
	// States counts the states that trusted checkpoints vouch for and that the
	// fold came to, too.
	States int    `json:"states,omitempty"`
	Folded uint64 `json:"folded"`
}

// ItemCount counts work items.
type ItemCount struct {
	Made      int `json:"made"`      // by the log
	Published int `json:"published"` // and found
	Equal     int `json:"equal"`     // of both, byte for byte
	Pending   int `json:"pending"`   // made by the last records, and not yet published
	// Before counts those of Published that were made before the fold begins.
	Before int `json:"before,omitempty"`
	// Gone are those that are no longer kept, nil if there are none.
	Gone *GoneItems `json:"gone,omitempty"`
}

// GoneItems are the items that the log makes before the first that is kept: there
// is nothing to compare them with.
type GoneItems struct {
	Items int       `json:"items"`
	First uint64    `json:"first"` // records that made them
	Last  uint64    `json:"last"`
	Made  time.Time `json:"made"` // when the last was
	Kept  time.Time `json:"kept"` // when the first that is kept was stored
}

// HostCount counts what hosts said.
type HostCount struct {
	Hosts   int `json:"hosts"`   // that items were published for
	Reports int `json:"reports"` // read
	// First is the first report that is kept, stored at Since, if there were others
	// before: what hosts answered until then is not known. 0: it is the first of all.
	First uint64    `json:"first,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Signed is the last report that a trusted checkpoint vouches for, with those
	// before it; 0: none.
	Signed   uint64 `json:"signed"`
	Answered int    `json:"answered"` // items that a host said to have applied
	Waiting  int    `json:"waiting"`  // items without an answer at the end
	Compared int    `json:"compared"` // digests of pictures that could be compared
	Equal    int    `json:"equal"`    // and were equal
	Words    int    `json:"words"`    // records in which a host speaks, found among its reports
	// Longest is how long an item waited for its answer at most.
	Longest time.Duration `json:"longest"`
}

// OK reports whether all is as it must be.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Problem })
}

// maxFindings bounds the findings of a kind: a log that is broken everywhere is
// not listed record by record.
const maxFindings = 1000

// note keeps a finding if it is of the period.
func (r *Report) note(f Finding) {
	switch {
	case !r.To.IsZero() && f.Since.After(r.To), !r.From.IsZero() && !f.Until.IsZero() && f.Until.Before(r.From):
		return
	}
	if r.kept == nil {
		r.kept = map[Kind]int{}
	}
	// A problem is never left out for what is none.
	if r.kept[f.Kind]++; r.kept[f.Kind] > maxFindings {
		if r.More == nil {
			r.More = map[Kind]int{}
		}
		r.More[f.Kind]++
		i := slices.IndexFunc(r.Findings, func(o Finding) bool { return o.Kind == f.Kind && !o.Problem })
		if !f.Problem || i < 0 {
			return
		}
		r.Findings[i] = f
		return
	}
	r.Findings = append(r.Findings, f)
}

// take adds what was found about the log. It has no time: it counts in every
// period.
func (r *Report) take(log *eventlog.Report, snapshots []eventlog.Problem) {
	r.Log.First, r.Log.Last, r.Log.Records = log.First, log.Last, log.Records
	r.Log.Signed, r.Log.Checkpoints, r.Log.Untrusted = log.Signed, log.Checkpoints, log.Untrusted
	for _, p := range slices.Concat(log.Problems, snapshots) {
		r.note(Finding{Kind: KindLog, Problem: true, First: p.From, Last: p.To, What: p.What})
	}
}

// sameAge is by how much the beginnings of streams that are kept for as long can
// differ.
const sameAge = time.Hour

// takeItems tells when the first items are gone though retention cannot have
// removed them. It counts in every period. A small item has three times its size
// in a stream, a small report twice.
func (r *Report) takeItems(bytes, limit int) {
	g := r.Items.Gone
	if g == nil || bytes >= limit/4 || r.Log.First > 1 && g.Made.Sub(r.Log.Begin) < sameAge {
		return
	}
	r.note(Finding{Kind: KindItem, Problem: true, First: g.First, Last: g.Last,
		What: fmt.Sprintf("the first items are missing, which retention cannot have removed: %d that these records make", g.Items)})
}

// takeReports adds what was found about the reports, which were read to their
// end or not. It counts in every period, as with the log.
func (r *Report) takeReports(v *eventlog.ReportsVerifier, toEnd bool, limit int) {
	young := r.Log.First == 1 // so young that age has removed nothing
	found := v.End(toEnd && (young || v.First > 0))
	r.Hosts.Signed = found.Signed
	for _, p := range found.Problems {
		r.note(Finding{Kind: KindReport, Problem: true, First: p.From, Last: p.To, What: p.What})
	}
	missing := young && v.First > 1 && v.Bytes < limit/2
	if !missing && found.Unknown == 0 {
		return
	}
	what := "no longer kept"
	if missing {
		what = "missing, and retention cannot have removed them"
	}
	if found.Unknown > 0 {
		what += fmt.Sprintf("; so those from %d to %d cannot be compared with a checkpoint", v.First, found.Unknown)
	}
	r.note(Finding{Kind: KindReport, Problem: missing, First: 1, Last: v.First - 1, What: what})
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			a.Since.Compare(b.Since), strings.Compare(a.Host, b.Host), cmp.Compare(a.First, b.First))
	})
}
