package proof

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// denials is a shop whose hosts then report denied packets: reports 13 to 17,
// up to a checkpoint, and 18 to 20, up to another.
func denials(t *testing.T) *pasttest.Past {
	t.Helper()
	p := pasttest.Shop(t)
	if n := len(p.Said); n != 12 {
		t.Fatalf("the shop has %d reports", n)
	}
	for i := range 8 {
		p.Report(work.Report{Host: "h1", Logged: &work.Logged{
			Action: work.Deny, Direction: "ingress", Policy: "GlobalNetworkPolicy db", Index: -1, Protocol: 6, Port: 22, Count: 1 + i,
			Source: netip.MustParseAddr("10.9.9.9"), Dest: netip.MustParseAddr("10.8.0.0"),
		}})
		p.Now = p.Now.Add(time.Second)
		if i == 4 {
			p.Checkpoint()
		}
	}
	p.Checkpoint()
	return p
}

// What no record of the log speaks of, denied packets, is found by checkpoints
// alone: between which two it was.
func TestReportsThatAreTamperedWithAreFoundBetweenCheckpoints(t *testing.T) {
	t.Parallel()
	whole := verify(t, denials(t), Options{})
	if !whole.OK() || whole.Hosts.Signed != 20 {
		t.Fatalf("untouched, signed up to %d: %+v", whole.Hosts.Signed, whole.Findings)
	}
	const altered = "altered, removed, inserted or moved among them: not what the checkpoint of "
	for name, c := range map[string]struct {
		tamper func(*pasttest.Past)
		want   []string
		alone  bool // nothing else is found
	}{
		"altered": {func(p *pasttest.Past) {
			l := *p.Said[14].Logged
			l.Port = 443
			p.Said[14].Logged = &l
		}, []string{"13-17: " + altered}, true},
		"altered after the first checkpoint": {func(p *pasttest.Past) {
			l := *p.Said[18].Logged
			l.Count = 1
			p.Said[18].Logged = &l
		}, []string{"18-20: " + altered}, true},
		"of another host": {func(p *pasttest.Past) { p.Said[14].Host = "h2" }, []string{"13-17: " + altered}, true},
		"stored at another time": {func(p *pasttest.Past) {
			p.Said[14].Stored = p.Said[14].Stored.Add(time.Millisecond)
		}, []string{"13-17: " + altered}, true},
		"removed": {func(p *pasttest.Past) { p.Said = slices.Delete(p.Said, 14, 15) }, []string{"13-17: " + altered, "15-15: missing"}, false},
		"removed, and the others close up": {func(p *pasttest.Past) {
			p.Said = slices.Delete(p.Said, 14, 15)
			renumber(p)
		}, []string{"13-17: " + altered, "20-20: missing at the end: a checkpoint was signed for them"}, false},
		"the one that was signed last is removed": {func(p *pasttest.Past) { p.Said = slices.Delete(p.Said, 16, 17) },
			[]string{"13-17: " + altered, "17-17: missing"}, false},
		"inserted": {func(p *pasttest.Past) {
			p.Said = slices.Insert(p.Said, 14, p.Said[14])
			renumber(p)
		}, []string{"13-17: " + altered}, false},
		"exchanged": {func(p *pasttest.Past) {
			a, b := &p.Said[13], &p.Said[14]
			a.Logged, b.Logged = b.Logged, a.Logged
		}, []string{"13-17: " + altered}, true},
		"the first removed": {func(p *pasttest.Past) { p.Said = p.Said[1:] },
			[]string{"1-1: missing, and retention cannot have removed them; so those from 2 to 12 cannot be compared with a checkpoint"}, false},
		"the end cut off": {func(p *pasttest.Past) { p.Said = p.Said[:18] },
			[]string{"19-20: missing at the end: a checkpoint was signed for them"}, false},
		"all removed":                        {func(p *pasttest.Past) { p.Said = nil }, []string{"1-20: missing at the end: a checkpoint was signed for them"}, false},
		"a mark removed from its checkpoint": {func(p *pasttest.Past) { p.Signed[1].Reports = nil }, nil, false}, // the signature does not fit
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := denials(t)
			c.tamper(p)
			rep := verify(t, p, Options{})
			if rep.OK() {
				t.Fatal("nothing was found")
			}
			var found []string
			for _, f := range rep.Findings {
				if f.Kind == KindReport && f.Problem {
					found = append(found, fmt.Sprintf("%d-%d: %s", f.First, f.Last, f.What))
				}
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, want) }) {
					t.Errorf("did not find %q among\n%s", want, strings.Join(found, "\n"))
				}
			}
			// What lies between two other checkpoints is not suspected.
			for _, s := range found {
				if c.alone && !strings.HasPrefix(s, c.want[0]) {
					t.Errorf("also found %q", s)
				}
			}
		})
	}
}

// Logs of earlier versions have no marks of the reports in their checkpoints,
// and are whole all the same.
func TestALogWhoseReportsWereNotSigned(t *testing.T) {
	t.Parallel()
	p := denials(t)
	for i, c := range p.Signed {
		p.Signed[i] = eventlog.Sign(pasttest.Key, eventlog.Checkpoint{Seq: c.Seq, Hash: c.Hash, Time: c.Time})
	}
	rep := verify(t, p, Options{})
	var text strings.Builder
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !rep.OK() || rep.Hosts.Signed != 0 || !strings.Contains(text.String(), "no checkpoint of a trusted key vouches for them") {
		t.Errorf("%s", text.String())
	}
}

// A log that was cut off together with its last checkpoint is whole, but for who
// kept that checkpoint.
func TestACheckpointKeptElsewhereShowsThatTheEndWasCutOff(t *testing.T) {
	t.Parallel()
	p := denials(t)
	p.Task("web.9", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Checkpoint()
	kept := p.Signed[3:]
	if rep := verify(t, p, Options{Expect: kept}); !rep.OK() || rep.Log.Checkpoints != 4 {
		t.Errorf("of the whole log: %+v", rep)
	}
	p.Log, p.Signed, p.Said = p.Log[:10], p.Signed[:3], p.Said[:20]
	p.Sent = slices.DeleteFunc(p.Sent, func(s work.Stored) bool { return s.Cause > 10 })
	if rep := verify(t, p, Options{}); !rep.OK() {
		t.Fatalf("by itself it is not whole: %+v", rep.Findings)
	}
	var found []string
	for _, f := range verify(t, p, Options{Expect: kept}).Findings {
		found = append(found, fmt.Sprintf("%s %d-%d: %s", f.Kind, f.First, f.Last, f.What))
	}
	for _, want := range []string{
		"log 11-11: missing at the end: a checkpoint was signed for them", "log 11-11: the checkpoint of 2026-03-01T",
		"report 21-",
	} {
		if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("did not find %q among\n%s", want, strings.Join(found, "\n"))
		}
	}
}

// A period that ends before the reports do says nothing of those after it.
func TestAPeriodDoesNotMissLaterReports(t *testing.T) {
	t.Parallel()
	p := denials(t)
	rep := verify(t, p, Options{To: p.Said[17].Stored})
	if !rep.OK() || rep.Hosts.Signed != 17 {
		t.Errorf("signed up to %d: %+v", rep.Hosts.Signed, rep.Findings)
	}
}

// What retention removed is no problem: the reports are checked from the first
// mark on that what is kept follows.
func TestReportsWhoseBeginningIsNoLongerKept(t *testing.T) {
	t.Parallel()
	p := denials(t)
	v := eventlog.NewReportsVerifier(p.Signed, pasttest.Trust)
	for r, err := range p.Reports(t.Context(), 15) {
		if err != nil {
			t.Fatal(err)
		}
		v.Take(r.Seq, r.Stored, r.Host, r.Data)
	}
	if rep := v.End(true); len(rep.Problems) > 0 || rep.Unknown != 17 || rep.Signed != 20 {
		t.Errorf("from 15 on: %+v", rep)
	}
	// Just after a mark all can be checked.
	v = eventlog.NewReportsVerifier(p.Signed, pasttest.Trust)
	for r, err := range p.Reports(t.Context(), 18) {
		if err != nil {
			t.Fatal(err)
		}
		v.Take(r.Seq, r.Stored, r.Host, r.Data)
	}
	if rep := v.End(true); len(rep.Problems) > 0 || rep.Unknown != 0 || rep.Signed != 20 {
		t.Errorf("from 18 on: %+v", rep)
	}
}

// speakers is a shop whose hosts then speak of BGP: reports 13 and 14.
func speakers(t *testing.T) *pasttest.Past {
	t.Helper()
	p := pasttest.Shop(t)
	for _, r := range []work.Report{
		{Host: "h1", Session: &events.Session{Peer: "mesh/h2", Address: netip.MustParseAddr("192.168.50.2"), State: "idle",
			Error: strings.Repeat("refused, ", 100)}}, // the log clips it
		{Host: "h2", Refused: &events.RouteRefusal{Peer: "mesh/h1", Prefix: netip.MustParsePrefix("0.0.0.0/0"), Reason: "not a block", Count: 3}},
	} {
		r.Seq = p.Report(r)
		ev, ok := r.Word()
		if !ok {
			t.Fatalf("report %d is no word", r.Seq)
		}
		p.Say(ev)
	}
	p.Now = p.Now.Add(time.Hour)
	p.Report(work.Report{Host: "h1", Drift: &work.Drift{What: "none"}})
	p.Checkpoint()
	return p
}

// What hosts say of BGP is in the log, and as they said it.
func TestWordsOnBGPAreComparedWithTheLog(t *testing.T) {
	t.Parallel()
	if rep := verify(t, speakers(t), Options{}); !rep.OK() || rep.Hosts.Words != 4 {
		t.Fatalf("untouched, %d words are the same: %+v", rep.Hosts.Words, rep.Findings)
	}
	for name, c := range map[string]struct {
		tamper func(*pasttest.Past)
		want   string
	}{
		"a session that was up": {func(p *pasttest.Past) { p.Said[12].Session.State = "established" }, "13-13: the report is not what the log says of it"},
		"another route":         {func(p *pasttest.Past) { p.Said[13].Refused.Count = 4 }, "14-14: the report is not what the log says of it"},
		"no such session": {func(p *pasttest.Past) {
			p.Said[12].Report = work.Report{ID: "r13", Host: "h1", Seq: 13, Drift: &work.Drift{}}
		},
			"13-13: record 11 is the word of a host, but there is no such report"},
		"a route of which the log does not speak": {func(p *pasttest.Past) {
			r := *p.Said[13].Refused
			p.Said[14].Drift, p.Said[14].Refused = nil, &r
			p.Now = p.Now.Add(time.Hour)
		},
			"15-15: the report never came into the log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := speakers(t)
			c.tamper(p)
			var found []string
			for _, f := range verify(t, p, Options{Now: p.Now}).Findings {
				if f.Problem {
					found = append(found, fmt.Sprintf("%d-%d: %s", f.First, f.Last, f.What))
				}
			}
			if !slices.Contains(found, c.want) {
				t.Errorf("did not find %q among\n%s", c.want, strings.Join(found, "\n"))
			}
		})
	}
}

// Each stream has its own retention: reports may be kept longer than the records
// that were made of them.
func TestReportsOfRecordsThatAreNoLongerKept(t *testing.T) {
	t.Parallel()
	past := func() *pasttest.Past {
		p := pasttest.Shop(t)
		p.Snapshot()
		p.Join("h1", "192.168.50.1")
		p.Now = p.Now.Add(time.Hour)
		p.Task("web.9", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
		p.Checkpoint()
		p.Log = p.Log[10:]
		return p
	}
	if rep := verify(t, past(), Options{}); !rep.OK() || rep.Log.Start != 10 || rep.Hosts.Words != 1 {
		t.Errorf("from record %d on, %d words: %+v", rep.Log.Start+1, rep.Hosts.Words, rep.Findings)
	}
	p := past()
	p.Said[12].Join.Address = "192.168.50.3" // of record 11
	if rep := verify(t, p, Options{}); !slices.ContainsFunc(rep.Findings, func(f Finding) bool {
		return f.First == 13 && f.What == "the report is not what the log says of it"
	}) {
		t.Errorf("an altered report of a record that is kept: %+v", rep.Findings)
	}
}

// The streams are read one after the other, and hosts speak meanwhile.
func TestAReportThatCameAfterTheReportsWereReadIsNotMissed(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	p.Join("h1", "192.168.50.1")
	p.Said = p.Said[:12]
	if rep := verify(t, p, Options{}); !rep.OK() {
		t.Errorf("the last one: %+v", rep.Findings)
	}
	p.Now = p.Now.Add(time.Hour)
	p.Task("web.9", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Said = p.Said[:12]
	const want = "record 11 is the word of a host, but there is no such report"
	if rep := verify(t, p, Options{}); !slices.ContainsFunc(rep.Findings, func(f Finding) bool { return f.Problem && f.What == want }) {
		t.Errorf("one of an hour ago: %+v", rep.Findings)
	}
}

// heardLater is a past whose last reports come while it is read.
type heardLater struct {
	*pasttest.Past
	early int // reports that are there from the beginning
	read  bool
}

func (h *heardLater) Reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	all := h.Past.Reports(ctx, from)
	if h.read {
		return all
	}
	h.read = true
	return func(yield func(work.StoredReport, error) bool) {
		for r, err := range all {
			if r.Seq > uint64(h.early) || !yield(r, err) { //nolint:gosec // a count
				return
			}
		}
	}
}

// In live streams a record that speaks of a report that is not there is told at
// once, and one whose report came meanwhile is not.
func TestTheReportsOfTheLastRecordsAreLookedForInLiveStreams(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	early := len(p.Said)
	p.Join("h1", "192.168.50.1") // record 11
	look := func() *Report {
		t.Helper()
		v, err := New(t.Context(), &heardLater{Past: p, early: early}, Options{Now: p.Now}, pasttest.Trust)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := v.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	if rep := look(); !rep.OK() || rep.Hosts.Words != 3 {
		t.Errorf("it came meanwhile; %d words: %+v", rep.Hosts.Words, rep.Findings)
	}
	has := func(rep *Report, what string) bool {
		return slices.ContainsFunc(rep.Findings, func(f Finding) bool { return f.Problem && f.What == what })
	}
	said := p.Said[early]
	p.Said[early].Join = &events.Join{Host: "h1", Address: "192.168.50.3"}
	if rep := look(); !has(rep, "the report is not what the log says of it") {
		t.Errorf("it says something else: %+v", rep.Findings)
	}
	p.Said[early] = said
	p.Said = p.Said[:early]
	if rep := look(); !has(rep, "record 11 is the word of a host, but there is no such report") {
		t.Errorf("there is none: %+v", rep.Findings)
	}
}
