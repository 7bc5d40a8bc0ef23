package history_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// demo is the copy that a run of the demonstration left, with the key of its
// controller: 79 records, 36 items, 175 reports of three hosts, 14 checkpoints.
const demo = "../../cmd/taskwall/testdata/demo"

func demoKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(demo, "checkpoint.pub"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(ed25519.PublicKey)
}

// field is what a line says of a name.
func field(line, name string) string {
	m := regexp.MustCompile(`"` + name + `":("[^"]*"|\d+)`).FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return m[1]
}

// put changes what a line first says of a name.
func put(line, name, value string) string {
	return strings.Replace(line, `"`+name+`":`+field(line, name), `"`+name+`":`+value, 1)
}

// swapBodies exchanges what two lines hold from a name on, and leaves their places.
func swapBodies(l []string, i, j int, name string) []string {
	a, b := strings.Index(l[i], `,"`+name+`":`), strings.Index(l[j], `,"`+name+`":`)
	l[i], l[j] = l[i][:a]+l[j][b:], l[j][:b]+l[i][a:]
	return l
}

// relinked has the links of all records fit what they hold.
func relinked(l []string) []string {
	var prev eventlog.Hash
	for i := range l {
		var r struct {
			Seq, Epoch uint64
			Writer     string
			Event      json.RawMessage
		}
		if err := json.Unmarshal([]byte(l[i]), &r); err != nil {
			panic(err)
		}
		if i > 0 {
			text, _ := prev.MarshalText()
			l[i] = put(l[i], "prev", `"`+string(text)+`"`)
		}
		record := eventlog.Record{Seq: r.Seq, Prev: prev, Epoch: r.Epoch, Writer: r.Writer, Data: r.Event}
		prev = record.Hash()
	}
	return l
}

// signedAnew signs a checkpoint's line with another key.
func signedAnew(line string, key ed25519.PrivateKey) string {
	var c struct{ Checkpoint eventlog.Checkpoint }
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		panic(err)
	}
	data, _ := json.Marshal(eventlog.Sign(key, c.Checkpoint))
	i := strings.Index(line, `,"checkpoint":`)
	return line[:i] + `,"checkpoint":` + string(data) + "}"
}

// claim changes what copy.json says of a stream.
func claim(stream, name string, value uint64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		about := filepath.Join(dir, "copy.json")
		var said struct {
			Taskwall string                       `json:"taskwall"`
			Version  int                          `json:"version"`
			Streams  map[string]map[string]uint64 `json:"streams"`
		}
		data, err := os.ReadFile(about)
		if err == nil {
			err = json.Unmarshal(data, &said)
		}
		if err != nil {
			t.Fatal(err)
		}
		said.Streams[stream][name] = value
		if err := os.WriteFile(about, encode(t, said), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// change rewrites the lines of a stream.
func change(stream string, how func([]string) []string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { rewrite(t, dir, stream, how) }
}

func all(some ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, one := range some {
			one(t, dir)
		}
	}
}

// appended adds a segment of its own with lines.
func appended(stream string, from int, how func([]string) []string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		var rest []string
		rewrite(t, dir, stream, func(l []string) []string {
			rest = how(slices.Clone(l[from:]))
			return l
		})
		data, first, _ := history.Frame(t, rest)
		name := filepath.Join(dir, stream, fmt.Sprintf("%020d.jsonl.zst", first))
		if _, err := os.Stat(name); err == nil {
			t.Fatal("there is such a segment")
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAttacksOnACopy(t *testing.T) {
	t.Parallel()
	host := pasttest.KeyOf("a host's key")
	events, items, reports, checkpoints := bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.CheckpointsStream
	for name, c := range map[string]struct {
		attack func(*testing.T, string)
		want   string // among the problems
	}{
		"nothing": {change(events, func(l []string) []string { return l }), ""},
		"two events of the same length exchanged":   {change(events, func(l []string) []string { return swapBodies(l, 22, 54, "event") }), "log 23-24: altered: the link in 24 does not fit the content of 23\nlog 55-56: altered"},
		"two events exchanged, and all linked anew": {change(events, func(l []string) []string { return relinked(swapBodies(l, 22, 54, "event")) }), "log 1-51: altered: not what the checkpoint of 2026-11-29T03:28:35Z was signed for"},
		"an event said to be unreadable": {change(events, func(l []string) []string {
			l[51] = l[51][:strings.Index(l[51], `,"event":`)] + `,"error":"no JSON"}`
			return l
		}), "log 52-52: no JSON"},
		"an event said to be unreadable beside what it is": {change(events, func(l []string) []string {
			l[51] = strings.Replace(l[51], `,"event":`, `,"error":"no JSON","event":`, 1)
			return l
		}), "log 52-52: no JSON"},
		"an event with a second name for its author": {change(events, func(l []string) []string {
			l[51] = strings.Replace(l[51], `"author":`, `"Author":"ann@security","author":`, 1)
			return l
		}), "log 52-53: altered: the link in 53 does not fit the content of 52"},
		"an event by another leader": {change(events, func(l []string) []string { l[51] = put(l[51], "epoch", "2"); return l }), "log 52-53: altered: the link in 53 does not fit the content of 52"},
		"the log cut to a checkpoint, with the later ones": {all(
			change(events, func(l []string) []string { return l[:51] }), change(checkpoints, func(l []string) []string { return l[:1] })), "item 7-7: published, but the log does not make it"},
		"the copy claims less of the log":             {all(change(events, func(l []string) []string { return l[:70] }), claim(events, "last", 70), claim(events, "read", 70)), "log 71-78: missing at the end: a checkpoint was signed for them"},
		"the first items said to be no longer kept":   {change(items, func(l []string) []string { return l[6:] }), "item 3-14: the first items are missing, which retention cannot have removed: 6 that these records make"},
		"the first reports said to be no longer kept": {change(reports, func(l []string) []string { return l[30:] }), "report 1-30: missing, and retention cannot have removed them; so those from 31 to 45 cannot be compared with a checkpoint"},
		"no items":                           {change(items, func([]string) []string { return nil }), "report 2: the host says that it applied revision 1, published is no more than 0"},
		"no reports":                         {change(reports, func([]string) []string { return nil }), "report 1-175: missing at the end: a checkpoint was signed for them"},
		"no checkpoints":                     {change(checkpoints, func([]string) []string { return nil }), "log 1-79: no trusted key vouches for them"},
		"a checkpoint signed anew by a host": {change(checkpoints, func(l []string) []string { l[5] = signedAnew(l[5], host); return l }), ""},
		"all checkpoints signed anew by a host": {change(checkpoints, func(l []string) []string {
			for i := range l {
				l[i] = signedAnew(l[i], host)
			}
			return l
		}), "log 1-79: no trusted key vouches for them, but another key does"},
		"two checkpoints exchanged": {change(checkpoints, func(l []string) []string { return swapBodies(l, 3, 8, "checkpoint") }), ""},
		"a checkpoint in the middle removed, and the others renumbered": {change(checkpoints, func(l []string) []string {
			l = slices.Delete(l, 5, 6)
			for i := range l {
				l[i] = put(l[i], "seq", fmt.Sprint(i+1))
			}
			return l
		}), ""},
		"an item sent to another host": {change(items, func(l []string) []string { l[6] = put(l[6], "host", `"h3"`); return l }), "what is stored at 8 cannot be read: a work item of \"h1\" came to \"h3\""},
		"an item of another leader":    {change(items, func(l []string) []string { l[6] = put(l[6], "epoch", "9"); return l }), "by the leader of term 1, after one of term 9"},
		"an item stored at another time": {change(items, func(l []string) []string {
			l[6] = put(l[6], "time", `"2026-11-29T05:28:35.501167208Z"`)
			return l
		}), "stored at 9, out of place: before the one that it follows"},
		"an item said to be unreadable": {change(items, func(l []string) []string {
			l[6] = strings.Replace(l[6], `,"item":`, `,"error":"x","item":`, 1)
			return l
		}), "what is stored at 8 cannot be read: x"},
		"another item for a revision after its own": {change(items, func(l []string) []string {
			return append(l, put(put(l[6], "seq", "38"), "time", field(l[35], "time")))
		}), "item 3-3: published again, after revision 12"},
		"a report of a denied packet moved to another host": {change(reports, func(l []string) []string {
			l[40] = strings.ReplaceAll(l[40], `"host":"h1"`, `"host":"h3"`)
			return l
		}), "report 22-45: altered, removed, inserted or moved among them"},
		"the reports of two hosts exchanged": {change(reports, func(l []string) []string { return swapBodies(l, 24, 40, "report") }), "report 22-45: altered, removed, inserted or moved among them"},
		"a report said to be unreadable": {change(reports, func(l []string) []string {
			l[40] = strings.Replace(l[40], `,"report":`, `,"report":1,"was":`, 1)
			return l
		}), "report 22-45: altered, removed, inserted or moved among them"},
		"a report stored an hour earlier": {change(reports, func(l []string) []string { l[40] = put(l[40], "time", `"2026-11-29T02:28:37.7Z"`); return l }), "report 41-41: out of place: stored before the one that it follows"},
		"a second segment over the first": {appended(events, 51, relinked), ""},
		"events after the last signed one": {appended(events, 78, func(l []string) []string {
			return []string{put(l[0], "seq", "80")}
		}), "log 79-80: altered: the link in 80 does not fit the content of 79"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(demo, "copy"))); err != nil {
				t.Fatal(err)
			}
			c.attack(t, dir)
			h, err := history.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close() //nolint:errcheck // only read
			v, err := proof.New(t.Context(), h, proof.Options{}, demoKey(t))
			if err != nil {
				t.Fatal(err)
			}
			rep, err := v.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(problems(rep), "\n")
			if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
				t.Errorf("did not find %q among\n%s", c.want, found)
			}
		})
	}
}
