package proof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// words compares the records in which a host speaks with the reports that they
// were made of. Both come in about the same order; what waits for its other
// half is kept.
type words struct {
	rep  *Report
	late time.Duration
	done map[uint64]bool // those of Matched
	wordsAtRest
}

type wordsAtRest struct {
	First   uint64          `json:"first"`   // report that is kept
	Next    uint64          `json:"next"`    // report that is due; 0: any
	Stored  time.Time       `json:"stored"`  // when the last one was stored
	Reports map[uint64]said `json:"reports"` // not yet in the log, by place
	Records map[uint64]said `json:"records"` // whose report was not yet read
	Matched []uint64        `json:"matched"` // places, the latest last: a record may come again
}

// said is one word of a host, as a record or as a report.
type said struct {
	Record uint64          `json:"record,omitempty"` // 0: a report
	Host   string          `json:"host"`
	At     time.Time       `json:"at"`
	Body   json.RawMessage `json:"body"`
}

// clockStep is how far the server's clock may go back, when it is set or when
// another server takes over.
const clockStep = 5 * time.Second

// maxWords bounds what waits for its other half, and what is remembered.
const maxWords = 100_000

func newWords(rep *Report, late time.Duration) *words {
	return &words{rep: rep, late: late, done: map[uint64]bool{}, wordsAtRest: wordsAtRest{Reports: map[uint64]said{}, Records: map[uint64]said{}}}
}

// report takes the next report.
func (w *words) report(r *work.StoredReport) {
	if w.First == 0 {
		w.First = r.Seq
	}
	f := Finding{Kind: KindReport, Problem: true, Host: r.Host, Since: r.Stored, Until: r.Stored, First: r.Seq, Last: r.Seq}
	switch {
	case w.Next != 0 && r.Seq > w.Next:
		w.rep.note(Finding{Kind: KindReport, Problem: true, Since: w.Stored, Until: r.Stored, First: w.Next, Last: r.Seq - 1, What: "missing"})
	case r.Seq < w.Next:
		f.What = "out of place"
		w.rep.note(f)
	case !r.Stored.IsZero() && r.Stored.Add(clockStep).Before(w.Stored):
		f.What = "out of place: stored before the one that it follows"
		w.rep.note(f)
	}
	if r.Err != nil {
		f.What = "cannot be read: " + r.Err.Error()
		w.rep.note(f)
	}
	if w.Next = max(w.Next, r.Seq+1); !r.Stored.IsZero() { // not known of what is damaged
		w.Stored = r.Stored
	}
	var body any
	switch {
	case r.Join != nil:
		j := *r.Join
		j.Host, j.Report = r.Host, r.Seq
		body = j
	case r.Wiring != nil:
		v := *r.Wiring
		v.Host, v.Report = r.Host, r.Seq
		body = v
	case r.Session != nil:
		v := *r.Session
		v.Host, v.Report = r.Host, r.Seq
		body = v
	case r.Refused != nil:
		v := *r.Refused
		v.Host, v.Report = r.Host, r.Seq
		body = v
	default:
		return
	}
	w.match(said{Host: r.Host, At: r.Stored, Body: encode(body)}, w.Reports, w.Records, r.Seq)
}

// record takes an entry of the log.
func (w *words) record(e *events.Entry) {
	var place uint64
	var host string
	var body any
	switch e.Event.Kind {
	case events.AgentJoin:
		place, host, body = e.Event.Join.Report, e.Event.Join.Host, *e.Event.Join
	case events.EndpointState:
		place, host, body = e.Event.Wiring.Report, e.Event.Wiring.Host, *e.Event.Wiring
	}
	if place == 0 || w.done[place] {
		return
	}
	w.match(said{Record: e.Seq, Host: host, At: e.Event.Received, Body: encode(body)}, w.Records, w.Reports, place)
}

// match finds a word's other half, or lets it wait.
func (w *words) match(s said, mine, other map[uint64]said, place uint64) {
	o, found := other[place]
	if !found {
		if len(mine) < maxWords {
			mine[place] = s
		}
		return
	}
	delete(other, place)
	w.done[place] = true
	if w.Matched = append(w.Matched, place); len(w.Matched) > maxWords {
		delete(w.done, w.Matched[0])
		w.Matched = w.Matched[1:]
	}
	if bytes.Equal(s.Body, o.Body) {
		w.rep.Hosts.Words++
		return
	}
	w.rep.note(Finding{Kind: KindReport, Problem: true, Host: s.Host, Since: s.At, Until: s.At, First: place, Last: place,
		Cause: s.Record + o.Record, What: "the report is not what the log says of it"})
}

// end tells of what has no other half.
func (w *words) end(now time.Time) {
	for _, place := range slices.Sorted(maps.Keys(w.Records)) {
		if s := w.Records[place]; place >= w.First && w.First != 0 {
			w.rep.note(Finding{Kind: KindReport, Problem: true, Host: s.Host, Since: s.At, Until: s.At, First: place, Last: place, Cause: s.Record,
				What: fmt.Sprintf("record %d is the word of a host, but there is no such report", s.Record)})
		}
	}
	for _, place := range slices.Sorted(maps.Keys(w.Reports)) {
		if s := w.Reports[place]; now.Sub(s.At) > w.late {
			w.rep.note(Finding{Kind: KindReport, Problem: true, Host: s.Host, Since: s.At, First: place, Last: place,
				What: "the report never came into the log"})
		}
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("proof: encoding the word of a host: " + err.Error()) // plain data: cannot fail
	}
	return b
}
