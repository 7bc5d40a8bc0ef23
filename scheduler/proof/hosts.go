package proof

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// hosts compares each host's picture, as the published items add up to it,
// with what the host said that it applied.
type hosts struct {
	rep  *Report
	late time.Duration
	all  map[string]*host
}

// host is what is known of one host.
type host struct {
	Picture *work.State `json:"picture"`
	// Whole is false while items are missing from the picture.
	Whole bool `json:"whole"`
	// Open are the items published since the one that was last answered, and
	// that one: a further report may bring its digest.
	Open []step `json:"open,omitempty"`
	// Dropped counts those that were left out of Open.
	Dropped int `json:"dropped,omitempty"`
	// Early are answers to items that were not yet seen as published: the two
	// streams are not in step to the millisecond.
	Early []work.StoredReport `json:"early,omitempty"`
	// Word is when the host last said anything.
	Word   time.Time         `json:"word,omitzero"`
	Failed map[string]failed `json:"failed,omitempty"`
	// Differs is since when the host holds something else than was published.
	Differs *Finding `json:"differs,omitempty"`
}

// step is one item of a host.
type step struct {
	Rev      uint64    `json:"rev"`
	Cause    uint64    `json:"cause"`
	At       time.Time `json:"at"`
	Digest   string    `json:"digest,omitempty"` // "": not known, or not yet made of mark
	Snapshot bool      `json:"snapshot,omitempty"`
	Answered bool      `json:"answered,omitempty"`

	mark  work.Mark // of the picture
	known bool      // mark is
}

// digest is made when it is asked for: most answers do not bring one.
func (s *step) digest() string {
	if s.Digest == "" && s.known {
		s.Digest = s.mark.Digest()
	}
	return s.Digest
}

// MarshalJSON writes the step down with its digest.
func (s step) MarshalJSON() ([]byte, error) {
	type plain step // without this method
	s.digest()
	return json.Marshal(plain(s))
}

type failed struct {
	Rev   uint64    `json:"rev"`
	Since time.Time `json:"since"`
	Error string    `json:"error"`
}

// maxOpen bounds the items of a host that wait for an answer; a host that is
// away for weeks has the oldest and the latest.
const maxOpen = 4096

// maxEarly bounds the answers that wait for their item.
const maxEarly = 64

func newHosts(rep *Report, late time.Duration) *hosts {
	return &hosts{rep: rep, late: late, all: map[string]*host{}}
}

func (hs *hosts) of(name string) *host {
	h := hs.all[name]
	if h == nil {
		h = &host{Picture: work.NewState()}
		hs.all[name] = h
		hs.rep.Hosts.Hosts++
	}
	return h
}

// publish takes an item that was published.
func (hs *hosts) publish(st *work.Stored, it *work.Item) {
	h := hs.of(it.Host)
	if it.Rev <= h.Picture.Rev {
		return // told by the comparison with the log
	}
	s := step{Rev: it.Rev, Cause: it.Cause, At: st.Time, Snapshot: it.Snapshot}
	if h.add(it) {
		s.mark, s.known = h.Picture.Mark(), true
	}
	// Whether it was answered when no report was kept yet nobody knows.
	if s.Answered = s.At.Before(hs.rep.Hosts.Since); s.Answered && len(h.Open) >= maxEarly {
		h.Open = h.Open[:0]
	}
	if len(h.Open) >= maxOpen {
		h.Open = slices.Delete(h.Open, 1, 2)
		h.Dropped++
	}
	h.Open = append(h.Open, s)
	early := h.Early
	h.Early = nil
	for i := range early {
		hs.applied(h, &early[i])
	}
}

// made takes an item that the log makes and that is no longer kept.
func (hs *hosts) made(it *work.Item) { hs.of(it.Host).add(it) }

// add adds an item to the picture, and reports whether that is whole.
func (h *host) add(it *work.Item) bool {
	switch {
	case it.Snapshot:
		h.Whole = true
	case it.Rev != h.Picture.Rev+1:
		h.Whole = false
	}
	if h.Whole && h.Picture.Apply(it) != nil {
		h.Whole = false // an item that makes no sense: hosts ask for their picture then
	}
	h.Picture.Rev = it.Rev
	return h.Whole
}

// report takes what a host reported.
func (hs *hosts) report(r *work.StoredReport) {
	hs.rep.Hosts.Reports++
	h := hs.all[r.Host]
	switch {
	case h != nil:
	case r.Applied == nil:
		return // it has no work yet
	default:
		h = hs.of(r.Host)
	}
	hs.silence(h, r.Host, r.Stored, false)
	h.Word = r.Stored
	switch {
	case r.Applied != nil:
		hs.applied(h, r)
	case r.Drift != nil:
		hs.rep.note(Finding{Kind: KindDrift, Host: r.Host, Since: r.Stored, Until: r.Stored, First: r.Seq, Last: r.Seq, What: "mended: " + r.Drift.What})
		hs.mended(h, r.Host, r.Stored) // the check that found it mends what had failed, too
	}
}

// waiting is the first item without an answer, nil if there is none.
func (h *host) waiting() *step {
	for i := range h.Open {
		if !h.Open[i].Answered {
			return &h.Open[i]
		}
	}
	return nil
}

// silence tells of a host that had work and said nothing for long.
func (hs *hosts) silence(h *host, name string, now time.Time, end bool) {
	s := h.waiting()
	if s == nil {
		return
	}
	since := s.At
	if h.Word.After(since) {
		since = h.Word
	}
	if now.Sub(since) <= hs.late {
		return
	}
	f := Finding{Kind: KindSilent, Problem: end, Host: name, Since: since, Until: now, What: "said nothing while it had work to do"}
	if end {
		f.Until = time.Time{}
	}
	hs.rep.note(f)
}

// applied takes an answer. It answers for all items before, too: of several
// that are due to be sent, an agent sends the last.
func (hs *hosts) applied(h *host, r *work.StoredReport) {
	a := r.Applied
	if a.Rev > h.Picture.Rev {
		if len(h.Early) < maxEarly {
			early := *r
			early.Data = nil // a part of much that was read with it
			h.Early = append(h.Early, early)
		}
		return
	}
	n := 0
	var first *step
	for ; n < len(h.Open) && h.Open[n].Rev <= a.Rev; n++ {
		if s := &h.Open[n]; !s.Answered {
			s.Answered = true
			hs.rep.Hosts.Answered++
			if first == nil {
				first = s
			}
		}
	}
	if n == 0 {
		return // an old answer, come late
	}
	if first != nil {
		hs.rep.Hosts.Answered += h.Dropped
		h.Dropped = 0
		took := r.Stored.Sub(first.At)
		if hs.rep.Hosts.Longest = max(hs.rep.Hosts.Longest, took); took > hs.late {
			hs.rep.note(Finding{Kind: KindWaiting, Host: r.Host, Since: first.At, Until: r.Stored, First: first.Rev, Last: a.Rev, Cause: first.Cause,
				What: "applied in the end"})
		}
	}
	if last := &h.Open[n-1]; last.Rev == a.Rev {
		hs.digest(h, r, last)
		if last.Snapshot && len(a.Failed) == 0 {
			hs.mended(h, r.Host, r.Stored)
		}
		n-- // it stays, for a digest that comes later
	}
	h.Open = slices.Delete(h.Open, 0, n)
	for _, f := range a.Failed {
		if _, known := h.Failed[f.Key]; !known {
			if h.Failed == nil {
				h.Failed = map[string]failed{}
			}
			if len(h.Failed) < maxFindings {
				h.Failed[f.Key] = failed{Rev: a.Rev, Since: r.Stored, Error: f.Error}
			}
		}
	}
}

// digest compares pictures. One that differs does so until the host gets its
// whole picture, or finds back by itself: that is one finding.
func (hs *hosts) digest(h *host, r *work.StoredReport, s *step) {
	if r.Applied.Digest == "" || s.digest() == "" {
		return
	}
	hs.rep.Hosts.Compared++
	switch equal := r.Applied.Digest == s.digest(); {
	case equal:
		hs.rep.Hosts.Equal++
		if h.Differs != nil {
			h.Differs.Until = r.Stored
			hs.rep.note(*h.Differs)
			h.Differs = nil
		}
	case h.Differs == nil:
		h.Differs = &Finding{Kind: KindPicture, Problem: true, Host: r.Host, Since: r.Stored, First: s.Rev, Last: s.Rev, Cause: s.Cause,
			What: fmt.Sprintf("from report %d on the host says that it holds %s, published was %s", r.Seq, r.Applied.Digest, s.digest())}
	default:
		h.Differs.Last = s.Rev
	}
}

// mended closes what a host could not apply: it now holds its whole picture.
func (hs *hosts) mended(h *host, name string, at time.Time) {
	hs.failures(h, name, at, "mended")
	h.Failed = nil
}

func (hs *hosts) failures(h *host, name string, until time.Time, how string) {
	for _, key := range slices.Sorted(maps.Keys(h.Failed)) {
		f := h.Failed[key]
		hs.rep.note(Finding{Kind: KindFailed, Problem: until.IsZero(), Host: name, Since: f.Since, Until: until, First: f.Rev, Last: f.Rev,
			What: fmt.Sprintf("%s, %s: %s", how, key, f.Error)})
	}
}

// end tells what is open. away says why a host need not answer: it is gone from
// the cluster, or cannot be reached.
func (hs *hosts) end(now time.Time, away func(string) string) {
	for _, name := range slices.Sorted(maps.Keys(hs.all)) {
		h := hs.all[name]
		for _, r := range h.Early {
			hs.rep.note(Finding{Kind: KindPicture, Problem: true, Host: name, Since: r.Stored, Until: r.Stored, First: r.Applied.Rev, Last: r.Applied.Rev,
				What: fmt.Sprintf("report %d: the host says that it applied revision %d, published is no more than %d", r.Seq, r.Applied.Rev, h.Picture.Rev)})
		}
		hs.failures(h, name, time.Time{}, "not known to be mended")
		if h.Differs != nil {
			hs.rep.note(*h.Differs)
		}
		first := h.waiting()
		if first == nil {
			continue
		}
		for i := range h.Open {
			if !h.Open[i].Answered {
				hs.rep.Hosts.Waiting++
			}
		}
		hs.rep.Hosts.Waiting += h.Dropped
		why := away(name)
		if why == "" {
			hs.silence(h, name, now, true)
		}
		if now.Sub(first.At) > hs.late {
			f := Finding{Kind: KindWaiting, Problem: why == "", Host: name, Since: first.At, First: first.Rev, Last: h.Picture.Rev, Cause: first.Cause,
				What: "not applied by the end"}
			if why != "" {
				f.What += ": the host is " + why
			}
			hs.rep.note(f)
		}
	}
}
