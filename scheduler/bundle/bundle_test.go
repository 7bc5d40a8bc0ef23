package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func question(p *pasttest.Past) Question {
	return Question{
		Systems: []string{"marathon:db", "nobody"}, From: pasttest.Begin, To: p.Now.Add(-time.Minute),
		Made: time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC),
	}
}

func write(t *testing.T, p *pasttest.Past, q Question, snapshot []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := Write(t.Context(), &out, p, q, snapshot); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func check(t *testing.T, data []byte, trust ...ed25519.PublicKey) *Checked {
	t.Helper()
	c, err := Check(t.Context(), bytes.NewReader(data), trust...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAWholeBundleProvesItsAnswer(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	data := write(t, p, question(p), nil)
	c := check(t, data, pasttest.Trust)
	if !c.OK() || c.Records != 10 || c.Signed != 10 {
		t.Errorf("checked: %+v", c)
	}
	// The period ends before the last record, but only that one is signed.
	if q := c.Question; q.First != 1 || q.Last != 10 {
		t.Errorf("the question is %+v", q)
	}
	a := string(unpack(t, data)[answerFile])
	for _, want := range []string{`"app": "marathon:web"`, `"ports": "tcp 5432"`, `"author": "ann"`, `"policy": "GlobalNetworkPolicy db"`, `"nobody"`} {
		if !strings.Contains(a, want) {
			t.Errorf("the answer has no %s:\n%s", want, a)
		}
	}
	if !bytes.Equal(data, write(t, p, question(p), nil)) {
		t.Error("the same question gave another bundle")
	}
}

func TestAShortBundleSaysWhatItTakesOnTrust(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Snapshot()
	from := p.Now
	p.Task("web.1", "web", "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Checkpoint()
	data := write(t, p, Question{Systems: []string{"marathon:db"}, From: from.Add(-time.Second), To: p.Now}, p.Snapshots[4])
	c := check(t, data, pasttest.Trust)
	if !c.OK() || c.Question.First != 5 || c.Records != 1 {
		t.Errorf("checked: %+v", c)
	}
	page := string(unpack(t, data)[reportFile])
	if !strings.Contains(page, "A short bundle") || !strings.Contains(page, "marathon:web") {
		t.Errorf("the report does not say that it is short:\n%s", page)
	}
}

// unpack is the files of a bundle.
func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	in := tar.NewReader(zip)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

// repack is a bundle with some of its files changed.
func repack(t *testing.T, data []byte, change func(files map[string][]byte)) []byte {
	t.Helper()
	files := unpack(t, data)
	change(files)
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, name := range []string{readmeFile, questionFile, stateFile, logFile, answerFile, reportFile, "more"} {
		if data, ok := files[name]; ok {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func replace(file, old, next string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		if !bytes.Contains(files[file], []byte(old)) {
			panic("nothing to alter in " + file)
		}
		files[file] = bytes.Replace(files[file], []byte(old), []byte(next), 1)
	}
}

// lines changes the lines of the log; the first is its header, the second the
// checkpoint.
func lines(change func([]string) []string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		files[logFile] = []byte(strings.Join(change(strings.SplitAfter(string(files[logFile]), "\n")), ""))
	}
}

func TestTamperedBundlesAreRefusedWithThePlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper func(map[string][]byte)
		want   string
	}{
		"an altered event":            {replace(logFile, `"app":"web"`, `"app":"wxb"`), "log.jsonl: records 8 to 9: altered: the link in 9 does not fit the content of 8"},
		"a removed event":             {lines(func(l []string) []string { return slices.Delete(l, 8, 9) }), "log.jsonl: record 7: missing"},
		"an inserted event":           {lines(func(l []string) []string { return slices.Insert(l, 8, l[7]) }), "log.jsonl: record 6: out of place"},
		"reordered events":            {lines(func(l []string) []string { l[7], l[8] = l[8], l[7]; return l }), "log.jsonl: record 6: missing"},
		"a cut log":                   {lines(func(l []string) []string { return l[:9] }), "log.jsonl: records 8 to 10: missing"},
		"an altered checkpoint":       {replace(logFile, `"checkpoint":{"seq":10`, `"checkpoint":{"seq":9`), "log.jsonl: record 9: the checkpoint here is not what was signed"},
		"an altered answer":           {replace(answerFile, "marathon:web", "marathon:wxb"), "answer.json: line "},
		"an altered report":           {replace(reportFile, "marathon:web", "marathon:wxb"), "report.html: line "},
		"another question":            {replace(questionFile, "marathon:db", "marathon:web"), "answer.json: line "},
		"a question of another time":  {replace(questionFile, "2026-03-01T12:00:00Z", "2026-03-01T12:30:00Z"), "answer.json: line "},
		"a question within another":   {replace(questionFile, `"systems": [`, `"Systems": ["marathon:web"],`+"\n"+`  "systems": [`), "question.json: line 4 is not as it is written"},
		"a longer period":             {longer, "log.jsonl: its records end at 2026-03-01T14:00:09Z, before the period does"},
		"a line that is none":         {lines(func(l []string) []string { l[5] = "{\n"; return l }), "log.jsonl: line 6"},
		"a file that does not belong": {func(f map[string][]byte) { f["more"] = []byte("x") }, `"more" is in the bundle`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pasttest.Shop(t)
			data := repack(t, write(t, p, question(p), nil), c.tamper)
			got := check(t, data, pasttest.Trust)
			if !slices.ContainsFunc(got.Problems, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
				t.Errorf("found\n%s\nwant %s", strings.Join(got.Problems, "\n"), c.want)
			}
		})
	}
}

// longer claims a month more than the records tell of, and changes all that
// follows from that.
func longer(files map[string][]byte) {
	var q Question
	if err := json.Unmarshal(files[questionFile], &q); err != nil {
		panic(err)
	}
	q.To = q.To.AddDate(0, 1, 0)
	x, err := eventlog.ImportReader(bytes.NewReader(files[logFile]))
	if err != nil {
		panic(err)
	}
	a, err := answer(context.Background(), &q, scheduler.NewState(), entriesOf(x.Records()))
	if err != nil {
		panic(err)
	}
	page, err := render(&q, a)
	if err != nil {
		panic(err)
	}
	files[questionFile], files[answerFile], files[reportFile] = encode(&q), encode(a), page
}

func TestABundleOfAForeignKeyIsRefused(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	data := write(t, p, question(p), nil)
	got := check(t, data, pasttest.KeyOf("foreign").Public().(ed25519.PublicKey))
	if want := "log.jsonl: records 1 to 10: no checkpoint of a trusted key vouches for them (1 are of other keys)"; !slices.Contains(got.Problems, want) {
		t.Errorf("found %v", got.Problems)
	}
	if got := check(t, data); !got.OK() || got.Signed != 0 {
		t.Errorf("with the chain alone: %+v", got)
	}
}

func TestWhatIsNoBundleIsAnError(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	whole := write(t, p, question(p), nil)
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("text"), "cut": whole[:len(whole)/2],
		"without a question":    repack(t, whole, func(f map[string][]byte) { delete(f, questionFile) }),
		"of a later version":    repack(t, whole, replace(questionFile, `"version": 4`, `"version": 5`)),
		"of an earlier version": repack(t, whole, replace(questionFile, `"version": 4`, `"version": 1`)),
	} {
		_, err := Check(t.Context(), bytes.NewReader(data), pasttest.Trust)
		if strings.HasSuffix(name, " version") && !strings.Contains(fmt.Sprint(err), "check it with the program that made it, "+name[len("of "):len(name)-len(" version")]+" one") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		if !errors.Is(err, ErrNotBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hostile is text that wants to be more than text.
const hostile = `</title><script>alert('x')</script>"><img src=x onerror=alert(1)>`

func TestTheReportShowsNamesAsText(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy(hostile, pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", hostile, "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Task("web.1", "web"+hostile, "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	p.Now = p.Now.Add(time.Hour)
	data := write(t, p, Question{Systems: []string{"marathon:" + hostile}, From: pasttest.Begin, To: p.Now}, nil)
	text := string(unpack(t, data)[reportFile])
	if n := strings.Count(text, "alert("); n < 5 {
		t.Fatalf("the names are not in the report: %d", n)
	}
	for _, bad := range []string{"<script", "<img", "</title></title>", hostile, hostile[:len("</title><s")]} {
		if strings.Contains(text, bad) {
			t.Errorf("the report holds %s", bad)
		}
	}
}

// An assessor prints it, on a machine without a network: nothing is fetched or
// run, and what differs between names is seen also when they are long.
func TestTheReportNeedsNothingBesideItself(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	for _, n := range []string{"1", "2"} {
		p.Task("web."+n, "checkout-service-of-the-shop-with-a-name-that-is-long-"+n, "h1", "TASK_RUNNING", map[string]string{"app": "web"})
	}
	data := write(t, p, Question{Systems: []string{"marathon:db"}, From: pasttest.Begin, To: p.Now.Add(time.Hour)}, nil)
	text := string(unpack(t, data)[reportFile])
	for _, bad := range []string{"<script", "<link", "<img", "<iframe", "src=", "href=", "@import", "http:", "https:", "url(h", "<details"} {
		if strings.Contains(text, bad) {
			t.Errorf("the report holds %s", bad)
		}
	}
	for _, n := range []string{"1", "2"} {
		if want := regexp.MustCompile(`<text [^>]*>marathon:checkout-se\S*…\S*-long-` + n + `</text>`); len(want.FindAllString(text, -1)) != 2 {
			t.Errorf("the charts do not tell %s:\n%s", want, text)
		}
	}
}

func TestTheReportIsAsReviewed(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	got := unpack(t, write(t, p, question(p), nil))[reportFile]
	const golden = "testdata/shop4.html"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if line, same := differ(got, want); !same {
		t.Errorf("the report differs from %s in line %d; go test -update writes it anew", golden, line)
	}
}

// brokenAfter is a past that cannot be read after a record.
type brokenAfter struct {
	*pasttest.Past
	seq uint64
}

func (b brokenAfter) Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return func(yield func(*eventlog.Record, error) bool) {
		for r, err := range b.Past.Records(ctx, from) {
			if r != nil && r.Seq > b.seq {
				yield(nil, errors.New("read too far"))
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// What comes long after the period is not read.
func TestTheLogIsReadToThePeriodsEnd(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	q := question(p)
	for range 5 {
		p.Now = p.Now.Add(time.Hour)
		p.Task("web.9", "web", "h2", "TASK_RUNNING", map[string]string{"app": p.Now.String()})
	}
	var out bytes.Buffer
	if _, err := Write(t.Context(), &out, brokenAfter{p, 11}, q, nil); err != nil {
		t.Fatal(err)
	}
	if c := check(t, out.Bytes(), pasttest.Trust); !c.OK() || c.Question.Last != 10 {
		t.Errorf("checked: %+v", c)
	}
}

// Bundles of earlier versions are checked as they were: testdata has the pages that
// programs of those versions made.
func TestBundlesOfEarlierVersionsAreChecked(t *testing.T) {
	t.Parallel()
	p := pasttest.Shop(t)
	for version, file := range map[string]string{"2": "testdata/shop.html", "3": "testdata/shop3.html"} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		old := repack(t, write(t, p, question(p), nil), func(f map[string][]byte) {
			replace(questionFile, `"version": 4`, `"version": `+version)(f)
			f[reportFile] = page
		})
		if c := check(t, old, pasttest.Trust); !c.OK() || c.Signed != 10 {
			t.Errorf("of version %s: %+v", version, c)
		}
		if c := check(t, repack(t, old, replace(reportFile, "marathon:web", "marathon:wxb")), pasttest.Trust); c.OK() {
			t.Error("an altered page is taken")
		}
	}
}

// A system that was there is not said to have been nobody where nothing is allowed
// to anybody.
func TestASystemWithoutFlowsWasThere(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	p.Checkpoint()
	files := unpack(t, write(t, p, Question{Systems: []string{"marathon:db", "nobody"}, From: pasttest.Begin, To: p.Now}, nil))
	for _, want := range []string{"Nobody had these names in the period: nobody.", "<p>Nobody could reach marathon:db.</p>"} {
		if !strings.Contains(string(files[reportFile]), want) {
			t.Errorf("it lacks %s:\n%s", want, files[reportFile])
		}
	}
}

// Of many systems and flows the page says what its drawings leave out, and letters
// that cannot be seen are shown.
func TestTheReportOfMuch(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", strings.Replace(pasttest.Pool, "/24", "/22", 1), pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	p.Task("db.1", "db", "h1", "TASK_RUNNING", map[string]string{"app": "db"})
	systems := []string{"marathon:db"}
	for i := range maxRows + 7 {
		name := fmt.Sprint("web-", i, "\u202e")
		p.Task(fmt.Sprint("web.", i), name, "h1", "TASK_RUNNING", map[string]string{"app": "web"})
		systems = append(systems, "marathon:"+name)
	}
	p.Checkpoint()
	data := write(t, p, Question{Systems: systems, From: pasttest.Begin, To: p.Now}, nil)
	if c := check(t, data, pasttest.Trust); !c.OK() {
		t.Errorf("checked: %+v", c)
	}
	text := string(unpack(t, data)[reportFile])
	for _, want := range []string{
		"<h1>Who could reach 68 systems</h1>", `<p>The systems: marathon:db, marathon:web-0\u202e, `,
		"7 pairs are not among the boxes and lines, 7 flows are not among the bars.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if strings.Contains(text, "\u202e") {
		t.Error("a letter that turns the order of others around is in the page")
	}
}

// Of several systems each row says which, and one that nobody reached is named.
func TestTheReportTellsSystemsApart(t *testing.T) {
	t.Parallel()
	p := pasttest.New(t)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	p.Host("h1", "192.168.50.1")
	for app, label := range map[string]string{"db": "db", "ledger": "db", "web": "web", "lonely": "lonely"} {
		p.Task(app+".1", app, "h1", "TASK_RUNNING", map[string]string{"app": label})
	}
	q := Question{Systems: []string{"marathon:db", "marathon:ledger", "marathon:lonely"}, From: pasttest.Begin, To: p.Now.AddDate(0, 0, 3)}
	p.Now = p.Now.AddDate(0, 0, 3)
	p.Host("h2", "192.168.50.2") // the log goes on
	text := string(unpack(t, write(t, p, q, nil))[reportFile])
	for _, want := range []string{
		">marathon:web → marathon:db</text>", ">marathon:web → marathon:ledger</text>", `<td class="n">3d 0h 0m `,
		"<p>Nobody could reach marathon:lonely.</p>", "<p>No other could be reached by marathon:db, marathon:ledger, marathon:lonely.</p>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s:\n%s", want, text)
		}
	}
}

// docs/audit.md tells who decides on the tool what the page tells an assessor.
func TestTheDocumentationTellsOfTheRequirements(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requirements {
		if line := "| " + r.Number + " | " + r.Shows + " | " + r.ShowsNot + " |\n"; !strings.Contains(string(page), line) {
			t.Errorf("docs/audit.md lacks %s", line)
		}
	}
}
