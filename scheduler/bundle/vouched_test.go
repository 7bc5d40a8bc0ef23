package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// long is a past of two periods: what is before the signed state, after record
// 6, and what is after it. The checkpoint that signs the state is at record 7.
func long(t *testing.T) (p *pasttest.Past, from time.Time) {
	t.Helper()
	p = pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Task("web.1", "web", "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Checkpoint()
	p.Task("other.1", "other", "h1", "TASK_RUNNING", nil)
	p.Snapshot()
	from = p.Now.Add(time.Hour)
	p.Now = from.Add(time.Hour)
	p.Task("web.2", "web", "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Checkpoint()
	p.Now = p.Now.Add(time.Hour)
	p.Task("web.1", "web", "h1", "TASK_FINISHED", map[string]string{"app": "web"})
	p.Checkpoint()
	return p, from
}

func vouched(p *pasttest.Past, from time.Time) Question {
	return Question{Systems: []string{"marathon:db"}, From: from, To: p.Now, Vouched: true, Made: p.Now}
}

func TestABundleFromASignedStateProvesItsAnswer(t *testing.T) {
	t.Parallel()
	p, from := long(t)
	data := write(t, p, vouched(p, from), p.Snapshots[6])
	c := check(t, data, pasttest.Trust)
	if !c.OK() || c.Question.Start != 6 || c.Records != 2 || c.Signed != 8 || c.Checkpoints != 2 {
		t.Errorf("checked: %+v", c)
	}
	files := unpack(t, data)
	if page := string(files[reportFile]); !strings.Contains(page, "It begins with a signed state") || strings.Contains(page, "short bundle") {
		t.Errorf("the report does not say what it begins with:\n%s", page)
	}
	// The answer is the one of all records.
	q := vouched(p, from)
	q.Vouched = false
	var short, whole Answer
	for file, a := range map[*Answer]map[string][]byte{&short: files, &whole: unpack(t, write(t, p, q, nil))} {
		if err := json.Unmarshal(a[answerFile], file); err != nil {
			t.Fatal(err)
		}
	}
	a, b := encode(short.Reached), encode(whole.Reached)
	if !bytes.Equal(a, b) || len(short.In) == 0 {
		t.Errorf("from the signed state it is\n%s\nand from the first record\n%s", a, b)
	}
	// A period that ends before the checkpoint that signs the state does not lose it.
	q = vouched(p, from)
	q.To = from.Add(time.Minute)
	if c := check(t, write(t, p, q, p.Snapshots[6]), pasttest.Trust); !c.OK() || c.Question.Last != 7 {
		t.Errorf("of a period without records: %+v", c)
	}
}

// otherLog is a checkpoint of the same key that signs the same state, at the
// same record, of a log that went on otherwise.
func otherLog(t *testing.T, p *pasttest.Past) eventlog.Checkpoint {
	t.Helper()
	mark := eventlog.MarkState(6, p.Snapshots[6])
	return eventlog.Sign(pasttest.Key, eventlog.Checkpoint{Seq: 7, Hash: eventlog.Hash{1}, State: &mark, Time: p.Now})
}

func checkpointLine(t *testing.T, c eventlog.Checkpoint) string {
	t.Helper()
	line, err := json.Marshal(map[string]any{"checkpoint": c})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// The lines of the log: header, the checkpoints at 7 and 8, the records 7 and 8.
func TestTamperedBundlesFromASignedStateAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper func(*testing.T, *pasttest.Past) func(map[string][]byte)
		want   string
	}{
		"an altered state": {func(_ *testing.T, p *pasttest.Past) func(map[string][]byte) {
			return replace(stateFile, "marathon/web.1", "marathon/wxb.1")
		}, "state.bin: the state after record 6: altered: not what the checkpoint of "},
		"the state without its checkpoint": {func(*testing.T, *pasttest.Past) func(map[string][]byte) {
			return lines(func(l []string) []string { return slices.Delete(l, 1, 2) })
		}, "state.bin: the state after record 6: no checkpoint of a trusted key vouches for it"},
		"the checkpoint of another log": {func(t *testing.T, p *pasttest.Past) func(map[string][]byte) {
			return lines(func(l []string) []string { l[1] = checkpointLine(t, otherLog(t, p)); return l })
		}, "log.jsonl: record 7: altered: not what the checkpoint of "},
		"the checkpoint of another log, of a record before the first": {func(t *testing.T, p *pasttest.Past) func(map[string][]byte) {
			c := otherLog(t, p)
			c.Seq = 6
			c = eventlog.Sign(pasttest.Key, c)
			return lines(func(l []string) []string { l[1] = checkpointLine(t, c); return l })
		}, "log.jsonl: record 6: altered: not what the checkpoint of "},
		"the checkpoint of another log, of a record after the last": {func(t *testing.T, p *pasttest.Past) func(map[string][]byte) {
			c := otherLog(t, p)
			c.Seq = 9
			c = eventlog.Sign(pasttest.Key, c)
			return lines(func(l []string) []string { l[1] = checkpointLine(t, c); return l })
		}, "log.jsonl: record 9: missing at the end"},
		"a checkpoint of a foreign key": {func(t *testing.T, p *pasttest.Past) func(map[string][]byte) {
			c := otherLog(t, p)
			c.Hash = p.Signed[1].Hash
			c = eventlog.Sign(pasttest.KeyOf("foreign"), c)
			return lines(func(l []string) []string { l[1] = checkpointLine(t, c); return l })
		}, "state.bin: the state after record 6: no checkpoint of a trusted key vouches for it"},
		"a missing record": {func(*testing.T, *pasttest.Past) func(map[string][]byte) {
			return lines(func(l []string) []string { return slices.Delete(l, 3, 4) })
		}, "log.jsonl: record 7: missing"},
		"no records": {func(*testing.T, *pasttest.Past) func(map[string][]byte) {
			return lines(func(l []string) []string { return l[:3] })
		}, "log.jsonl: records 7 to 8: missing"},
		"a question that names none": {func(*testing.T, *pasttest.Past) func(map[string][]byte) {
			return replace(questionFile, `"last": 8`, `"last": 6`)
		}, "question.json: it contradicts itself"},
		"a period with records before the state": {func(_ *testing.T, p *pasttest.Past) func(map[string][]byte) {
			_, from := long(t)
			return replace(questionFile, from.Format(time.RFC3339), pasttest.Begin.Format(time.RFC3339))
		}, "state.bin: the state after record 6: it holds records of the period itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, from := long(t)
			data := repack(t, write(t, p, vouched(p, from), p.Snapshots[6]), c.tamper(t, p))
			got := check(t, data, pasttest.Trust)
			if !slices.ContainsFunc(got.Problems, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
				t.Errorf("found\n%s\nwant %s", strings.Join(got.Problems, "\n"), c.want)
			}
		})
	}
}

func TestABundleFromAStateIsMadeOnlyOfWhatProvesIt(t *testing.T) {
	t.Parallel()
	p, from := long(t)
	for name, c := range map[string]struct {
		change func(*Question)
		want   error
	}{
		"a state within the period": {func(q *Question) { q.From = pasttest.Begin }, errLate},
		"a state that nobody signed": {func(*Question) {
			for i := range p.Signed {
				p.Signed[i].State = nil
			}
		}, eventlog.ErrUnsigned},
	} {
		q := vouched(p, from)
		c.change(&q)
		if _, err := Write(t.Context(), new(bytes.Buffer), p, q, p.Snapshots[6]); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := vouched(p, from)
	q.Vouched = false
	c := check(t, write(t, p, q, p.Snapshots[6]), pasttest.KeyOf("foreign").Public().(ed25519.PublicKey))
	if c.OK() {
		t.Error("a short bundle of a foreign key is taken")
	}
}
