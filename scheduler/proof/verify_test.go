package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

func verify(t *testing.T, p *pasttest.Past, o Options) *Report {
	t.Helper()
	v, err := New(t.Context(), p, o, pasttest.Trust)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := v.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestAWholePastIsProven(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	rep := verify(t, p, Options{})
	if !rep.OK() || len(rep.Findings) > 0 {
		t.Errorf("found %+v", rep.Findings)
	}
	if n := len(p.Sent); rep.Items != (ItemCount{Made: n, Published: n, Equal: n}) {
		t.Errorf("items %+v of %d", rep.Items, n)
	}
	if n := len(p.Sent); rep.Hosts.Answered != n || rep.Hosts.Equal != n || rep.Hosts.Waiting != 0 || rep.Hosts.Words != 2 {
		t.Errorf("hosts %+v of %d items", rep.Hosts, n)
	}
	if n := uint64(len(p.Log)); rep.Log.Signed != n || rep.Log.Folded != n || rep.Log.Checkpoints != 1 {
		t.Errorf("log %+v of %d records", rep.Log, n)
	}
}

// swap exchanges what two records hold, and leaves their places as they were.
func swap(a, b *eventlog.Record) {
	*a, *b = *b, *a
	a.Seq, b.Seq = b.Seq, a.Seq
}

// renumber closes up the sequences, as who hides a change would.
func renumber(p *pasttest.Past) {
	for i, r := range p.Log {
		r.Seq = uint64(i + 1)
	}
	for i := range p.Sent {
		p.Sent[i].Seq = uint64(i + 1)
	}
	for i := range p.Said {
		p.Said[i].Seq = uint64(i + 1)
	}
}

// What an item says counts, not how it is written: another version may write it
// in another way.
func TestItemsMayBeWrittenInAnotherWay(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	for i := range p.Sent {
		p.Sent[i].Data = append([]byte(" "), p.Sent[i].Data...)
	}
	if rep := verify(t, p, Options{}); !rep.OK() || rep.Items.Equal != len(p.Sent) {
		t.Errorf("found %+v", rep)
	}
}

func TestTamperingIsFoundAndLocated(t *testing.T) {
	t.Parallel()
	const last = 10 // record of the shop's past
	for name, c := range map[string]struct {
		tamper func(*pasttest.Past)
		want   []string // findings, as "kind first-last: what", by their beginnings
	}{
		"an event is altered": {
			func(p *pasttest.Past) {
				p.Log[7].Data = bytes.Replace(p.Log[7].Data, []byte(`"web"`), []byte(`"wxb"`), 1)
			},
			[]string{"log 8-9: altered: the link in 9 does not fit the content of 8", "item"},
		},
		"an event is altered, and all after it are linked anew": {
			func(p *pasttest.Past) {
				p.Log[7].Data = bytes.Replace(p.Log[7].Data, []byte(`"app":"web"`), []byte(`"app":"wxb"`), 1)
				relink(p)
			},
			[]string{"log 1-10: altered: not what the checkpoint of ", "item"},
		},
		"an event is removed": {
			func(p *pasttest.Past) { p.Log = slices.Delete(p.Log, 7, 8) },
			[]string{"log 8-8: missing", "item 8-9: the log cannot be folded from here on"},
		},
		"an event is removed, and the others close up": {
			func(p *pasttest.Past) { p.Log = slices.Delete(p.Log, 7, 8); renumber(p) },
			[]string{"log 7-8: altered: the link in 8 does not fit the content of 7", "log 8-9: altered", "log 10-10: missing at the end", "item"},
		},
		"an event is inserted": {
			func(p *pasttest.Past) {
				more := *p.Log[7]
				p.Log = slices.Insert(p.Log, 8, &more)
				renumber(p)
			},
			[]string{"log 8-9: altered: the link in 9 does not fit the content of 8", "log 1-10: altered"},
		},
		"events are reordered": {
			func(p *pasttest.Past) { p.Log[6], p.Log[7] = p.Log[7], p.Log[6] },
			[]string{"log 7-7: missing", "log 7-7: out of place", "log 8-8: missing"},
		},
		"events are reordered and renumbered": {
			func(p *pasttest.Past) { swap(p.Log[6], p.Log[7]) },
			[]string{"log 6-7: altered", "log 7-8: altered", "log 8-9: altered"},
		},
		"the end is cut off": {
			func(p *pasttest.Past) { p.Log = p.Log[:9] },
			[]string{"log 10-10: missing at the end: a checkpoint was signed for them", "item"},
		},
		"an item is altered": {
			func(p *pasttest.Past) {
				pasttest.Alter(t, &p.Sent[3], func(it *work.Item) { it.Routes = append(it.Routes, it.Routes...) })
			},
			[]string{"item 2-2: altered: the published item differs from the one that the log makes in its routes"},
		},
		"an item is altered, and what it grants": {
			func(p *pasttest.Past) {
				i := slices.IndexFunc(p.Sent, func(s work.Stored) bool { return len(pasttest.Item(t, &s).Programs) > 0 })
				pasttest.Alter(t, &p.Sent[i], func(it *work.Item) { it.Programs[0].Ingress = nil })
			},
			[]string{"item 2-2: altered: the published item differs from the one that the log makes in its programs", "picture 2-5: from report 5 on the host says that it holds"},
		},
		"an item is damaged": {
			func(p *pasttest.Past) { p.Sent[3].Data = p.Sent[3].Data[:len(p.Sent[3].Data)-1] },
			[]string{"item 2-2: what is stored at 4 cannot be read: decoding a work item: "},
		},
		"an item is removed": {
			func(p *pasttest.Past) { p.Sent = slices.Delete(p.Sent, 3, 4) },
			[]string{"item 2-2: made by the log, but never published"},
		},
		"an item is inserted": {
			func(p *pasttest.Past) {
				more := p.Sent[3]
				more.Seq = 0
				pasttest.Alter(t, &more, func(it *work.Item) { it.Rev, it.Cause = 99, 7 })
				p.Sent = slices.Insert(p.Sent, 4, more)
				renumber(p)
			},
			[]string{"item 99-99: published, but the log does not make it"},
		},
		"items are reordered": {
			func(p *pasttest.Past) { p.Sent[3], p.Sent[4] = p.Sent[4], p.Sent[3] },
			[]string{"item", "item"},
		},
		"a report is altered": {
			func(p *pasttest.Past) {
				a := *p.Said[4].Applied
				a.Digest = strings.Repeat("0", 32)
				p.Said[4].Applied = &a
			},
			[]string{"picture 2-2: from report 5 on the host says that it holds 0000"},
		},
		"a word of a host is altered": {
			func(p *pasttest.Past) { j := *p.Said[0].Join; j.Address = "192.168.50.9"; p.Said[0].Join = &j },
			[]string{"report 1-1: the report is not what the log says of it"},
		},
		"a report is removed": {
			func(p *pasttest.Past) { p.Said = slices.Delete(p.Said, 3, 4) },
			[]string{"report 4-4: missing"},
		},
		"the word of a host is removed, and the others close up": {
			func(p *pasttest.Past) { p.Said = slices.Delete(p.Said, 0, 1); renumber(p) },
			[]string{"report 1-1: record 4 is the word of a host, but there is no such report", "report"},
		},
		"the word of a host is inserted": {
			func(p *pasttest.Past) {
				p.Report(work.Report{Host: "h1", Join: &events.Join{Host: "h1"}})
				p.Said[len(p.Said)-1].Stored = p.Said[len(p.Said)-2].Stored
			},
			[]string{"report 13-13: the report never came into the log"},
		},
		"an answer is inserted": {
			func(p *pasttest.Past) { p.Report(work.Report{Host: "h1", Applied: &work.Applied{Rev: 40}}) },
			[]string{"picture 40-40: report 13: the host says that it applied revision 40, published is no more than 5"},
		},
		"reports are reordered": {
			func(p *pasttest.Past) { p.Said[3], p.Said[8] = p.Said[8], p.Said[3]; renumber(p) },
			[]string{"report 5-5: out of place: stored before the one that it follows"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pasttest.Shop(t)
			if len(p.Log) != last {
				t.Fatalf("the past has %d records", len(p.Log))
			}
			c.tamper(p)
			rep := verify(t, p, Options{Now: p.Now.Add(time.Hour)})
			if rep.OK() {
				t.Fatal("nothing was found")
			}
			var found []string
			for _, f := range rep.Findings {
				found = append(found, fmt.Sprintf("%s %d-%d: %s", f.Kind, f.First, f.Last, f.What))
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, want) }) {
					t.Errorf("did not find %q among\n%s", want, strings.Join(found, "\n"))
				}
			}
		})
	}
}

func relink(p *pasttest.Past) {
	var link eventlog.Hash
	for _, r := range p.Log {
		r.Prev = link
		link = r.Hash()
	}
}

func TestCheckpointsOfAStrangerProveNothing(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	p.Log[7].Data = bytes.Replace(p.Log[7].Data, []byte(`"app":"web"`), []byte(`"app":"wxb"`), 1)
	relink(p)
	p.Signed = []eventlog.Checkpoint{eventlog.Sign(pasttest.KeyOf("stranger"), eventlog.Checkpoint{Seq: 10, Hash: p.Log[9].Hash(), Time: p.Now})}
	rep := verify(t, p, Options{})
	if rep.Log.Signed != 0 || rep.Log.Untrusted != 1 {
		t.Errorf("the log is %+v", rep.Log)
	}
}

func TestTellsHowLongItemsWaited(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	p.Silent["h1"] = true
	p.Now = p.Now.Add(time.Hour)
	since := p.Now
	p.Task("db.2", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Now = p.Now.Add(30 * time.Minute)
	rep := verify(t, p, Options{Now: p.Now})
	want := []Finding{
		{Kind: KindWaiting, Problem: true, Host: "h1", Since: since.Add(time.Millisecond), First: 6, Last: 6, Cause: 11, What: "not applied by the end"},
		{Kind: KindSilent, Problem: true, Host: "h1", Since: since.Add(time.Millisecond), What: "said nothing while it had work to do"},
	}
	if d := cmp.Diff(want, rep.Findings); d != "" {
		t.Errorf("while it waits (-want +got):\n%s", d)
	}

	// It comes back, asks for its picture, and holds it.
	delete(p.Silent, "h1")
	p.Join("h1", "192.168.50.1")
	rep = verify(t, p, Options{Now: p.Now})
	if !rep.OK() || len(rep.Findings) != 2 {
		t.Fatalf("afterwards: %+v", rep.Findings)
	}
	for _, f := range rep.Findings {
		if f.Host != "h1" || f.Until.IsZero() || f.Until.Sub(f.Since) < 30*time.Minute || f.Until.Sub(f.Since) > 31*time.Minute {
			t.Errorf("afterwards: %+v", f)
		}
	}

	// A host that is gone need not answer.
	p.Silent["h2"] = true
	p.Task("web.3", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Say(events.Event{Kind: events.HostGone, Gone: &events.Gone{Key: "agent-h2"}})
	p.Now = p.Now.Add(time.Hour)
	rep = verify(t, p, Options{Now: p.Now})
	if !rep.OK() {
		t.Errorf("of a host that is gone: %+v", rep.Findings)
	}
}

func TestTellsFailuresAndDriftUntilMended(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	p.Report(work.Report{Host: "h1", Applied: &work.Applied{Rev: 5, Failed: []work.Failure{{Key: "route 10.8.0.0/28", Error: "no such device"}}}})
	rep := verify(t, p, Options{})
	if rep.OK() || rep.Findings[0].Kind != KindFailed || !rep.Findings[0].Until.IsZero() {
		t.Fatalf("found %+v", rep.Findings)
	}
	p.Now = p.Now.Add(time.Minute)
	p.Report(work.Report{Host: "h1", Drift: &work.Drift{What: "a route was missing"}})
	rep = verify(t, p, Options{})
	if !rep.OK() || len(rep.Findings) != 2 {
		t.Fatalf("found %+v", rep.Findings)
	}
	if f := rep.Findings[0]; f.Kind != KindFailed || f.Until.Sub(f.Since) != time.Minute || !strings.Contains(f.What, "no such device") {
		t.Errorf("the failure is %+v", f)
	}
	if f := rep.Findings[1]; f.Kind != KindDrift || f.What != "mended: a route was missing" {
		t.Errorf("the drift is %+v", f)
	}
}

func TestAPeriodTellsOnlyWhatIsOfIt(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	p.Report(work.Report{Host: "h1", Drift: &work.Drift{What: "late"}})
	rep := verify(t, p, Options{To: pasttest.Begin.Add(90 * time.Minute)})
	if len(rep.Findings) > 0 || rep.Log.Folded != 9 || rep.Log.Records != 10 || rep.Items.Pending != 0 {
		t.Errorf("up to the middle: %+v", rep)
	}
	rep = verify(t, p, Options{From: p.Now.Add(-time.Minute)})
	if len(rep.Findings) != 1 {
		t.Errorf("of the end: %+v", rep.Findings)
	}
}

// interrupted ends after some records, as when a person presses Ctrl-C.
type interrupted struct {
	*pasttest.Past
	after  int
	cancel context.CancelFunc
}

func (i *interrupted) Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return func(yield func(*eventlog.Record, error) bool) {
		n := 0
		for r, err := range i.Past.Records(ctx, from) {
			if n == i.after {
				i.cancel()
			}
			if n++; !yield(r, err) {
				return
			}
		}
	}
}

func TestAnInterruptedVerificationGoesOnToTheSameEnd(t *testing.T) {
	t.Parallel()
	tampered := func() *pasttest.Past {
		p := pasttest.Shop(t)
		p.Silent["h1"] = true
		p.Now = p.Now.Add(time.Hour)
		p.Task("db.2", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
		p.Log[5].Data = bytes.Replace(p.Log[5].Data, []byte("192.168.50.2"), []byte("192.168.50.3"), 1)
		return p
	}
	want := verify(t, tampered(), Options{})
	for after := range 11 {
		p := tampered()
		ctx, cancel := context.WithCancel(t.Context())
		v, err := New(ctx, &interrupted{p, after, cancel}, Options{}, pasttest.Trust)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d records: %v", after, err)
		}
		kept, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		v, err = New(t.Context(), p, Options{}, pasttest.Trust)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(kept, v); err != nil {
			t.Fatal(err)
		}
		got, err := v.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("after %d records:\n%s\nwithout a pause:\n%s", after, b, a)
		}
	}
}

func TestALogWithoutItsBeginningIsFoldedFromASnapshot(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	for i, h := range []string{"h1", "h2", "h3", "h4"} {
		p.Host(h, "192.168.50."+string(rune('1'+i)))
		p.Snapshot()
	}
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Checkpoint()
	p.Log = p.Log[3:] // as retention does; the first snapshot that fits is at 3
	rep := verify(t, p, Options{})
	if !rep.OK() || rep.Log.Start != 3 || rep.Log.Folded != 10 || rep.Items.Equal != rep.Items.Made || rep.Items.Made == 0 {
		t.Errorf("found %+v", rep)
	}
	if rep.Log.StartSigned || rep.Log.States != 1 { // the last snapshot is signed
		t.Errorf("found %+v", rep.Log)
	}
	p.Snapshots = nil
	v, err := New(t.Context(), p, Options{}, pasttest.Trust)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Run(t.Context()); !errors.Is(err, eventlog.ErrGone) {
		t.Errorf("without a snapshot: %v", err)
	}
}

// A host that answered when no report of then is kept any more, and had nothing
// to do since, is not one that does not answer.
func TestAnswersThatAreNoLongerKeptAreNotMissed(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	last := 0
	for i, r := range p.Said {
		if r.Host == "h1" {
			last = i
		}
	}
	if last == len(p.Said)-1 {
		t.Fatal("h1 speaks last")
	}
	p.Said = p.Said[last+1:]
	o := Options{Limit: 1, Now: p.Now.Add(24 * time.Hour)}
	rep := verify(t, p, o)
	if !rep.OK() || rep.Hosts.First != p.Said[0].Seq || rep.Hosts.Waiting != 0 {
		t.Errorf("found %+v: %+v", rep.Findings, rep.Hosts)
	}
	// An item that was published since is missed.
	p.Silent["h1"] = true
	p.Task("db.2", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	if rep := verify(t, p, o); rep.OK() || rep.Hosts.Waiting == 0 {
		t.Errorf("found %+v: %+v", rep.Findings, rep.Hosts)
	}
}

// Items of a host that are no longer kept are those that its answers were for.
func TestItemsThatAreNoLongerKeptAreNotMissed(t *testing.T) {
	t.Parallel()
	whole := verify(t, pasttest.Shop(t), Options{})
	p := pasttest.Shop(t)
	for i := range p.Sent {
		if i > 0 && p.Sent[i-1].Host == "h1" {
			p.Sent = p.Sent[i:]
			break
		}
	}
	gone := len(pasttest.Shop(t).Sent) - len(p.Sent)
	rep := verify(t, p, Options{Limit: 1})
	if !rep.OK() || rep.Items.Gone == nil || rep.Items.Gone.Items != gone || rep.Items.Equal != whole.Items.Equal-gone {
		t.Errorf("found %+v: %+v of %+v", rep.Findings, rep.Items, whole.Items)
	}
	if rep.Hosts.Hosts != whole.Hosts.Hosts || rep.Hosts.Compared != whole.Hosts.Compared-gone || rep.Hosts.Equal != rep.Hosts.Compared {
		t.Errorf("hosts %+v of %+v", rep.Hosts, whole.Hosts)
	}
	if rep := verify(t, p, Options{}); rep.OK() {
		t.Error("so few items cannot be what retention leaves")
	}
}

// Wherever a period ends, what comes after it raises no alarm, also when records
// lie not quite in the order of their times; and what is wrong before is found.
func TestAPeriodMayEndAnywhere(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Now = p.Now.Add(10 * time.Second)
	p.Task("web.1", "web", "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Now = p.Now.Add(-5 * time.Second)
	p.Task("web.2", "web", "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Now = p.Now.Add(10 * time.Second)
	p.Task("web.1", "web", "h1", "TASK_FINISHED", map[string]string{"app": "web"})
	p.Checkpoint()
	for at := pasttest.Begin; at.Before(p.Now); at = at.Add(500 * time.Millisecond) {
		if rep := verify(t, p, Options{To: at, Now: p.Now.Add(time.Hour)}); !rep.OK() {
			t.Errorf("to %s: %+v", at.Format(time.TimeOnly), rep.Findings)
		}
	}
	p.Sent = slices.Delete(p.Sent, 1, 2)
	if rep := verify(t, p, Options{To: p.Now.Add(-2 * time.Second), Now: p.Now.Add(time.Hour)}); rep.OK() {
		t.Error("an item that was not published is not found")
	}
}
