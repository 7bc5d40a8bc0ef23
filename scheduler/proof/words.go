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
	Folded  uint64          `json:"folded"`  // last report in what the fold begins with: no record tells of those
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
	Body   json.RawMessage `json:"body"` // once it was written down

	body any // comparable; nil of one that was written down
}

// MarshalJSON writes the word down with its body.
func (s said) MarshalJSON() ([]byte, error) {
	type plain said // without this method
	s.Body = s.text()
	return json.Marshal(plain(s))
}

func (s *said) text() []byte {
	if s.body == nil {
		return s.Body
	}
	return encode(s.body)
}

// same reports whether a record says what a report says.
func (s *said) same(o *said) bool {
	if s.body != nil && o.body != nil {
		return s.body == o.body
	}
	return bytes.Equal(s.text(), o.text())
}

// word is what an event of the log says for a host, and by which report; place is
// 0 of others.
func word(e *events.Event) (place uint64, host string, body any) {
	switch e.Kind {
	case events.AgentJoin:
		return e.Join.Report, e.Join.Host, *e.Join
	case events.EndpointState:
		return e.Wiring.Report, e.Wiring.Host, *e.Wiring
	case events.BGPSession:
		return e.Session.Report, e.Session.Host, *e.Session
	case events.BGPRefused:
		return e.Refused.Report, e.Refused.Host, *e.Refused
	}
	return 0, "", nil
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
	w.hear(r)
}

// hear looks for the record of a report.
func (w *words) hear(r *work.StoredReport) {
	if ev, ok := r.Word(); ok && r.Seq > w.Folded {
		place, host, body := word(&ev)
		w.match(said{Host: host, At: r.Stored, body: body}, w.Reports, w.Records, place)
	}
}

// beyond is the last report that a record speaks of and that lies behind the last
// that was read; 0: none does.
func (w *words) beyond() (last uint64) {
	for place := range w.Records {
		if place >= w.Next {
			last = max(last, place)
		}
	}
	return last
}

// record takes an entry of the log.
func (w *words) record(e *events.Entry) {
	place, host, body := word(&e.Event)
	if place <= w.Folded || w.done[place] { // none, or a repeat
		return
	}
	w.match(said{Record: e.Seq, Host: host, At: e.Event.Received, body: body}, w.Records, w.Reports, place)
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
	if s.same(&o) {
		w.rep.Hosts.Words++
		return
	}
	w.rep.note(Finding{Kind: KindReport, Problem: true, Host: s.Host, Since: s.At, Until: s.At, First: place, Last: place,
		Cause: s.Record + o.Record, What: "the report is not what the log says of it"})
}

// end tells of what has no other half. The reports may have been read to their end
// a little before the log was; whole, those since were looked for, too.
func (w *words) end(now time.Time, whole bool) {
	for _, place := range slices.Sorted(maps.Keys(w.Records)) {
		if s := w.Records[place]; place >= w.First && w.First != 0 && (whole || place < w.Next || now.Sub(s.At) > w.late) {
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
