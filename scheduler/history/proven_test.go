package history_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// shop is a bus that holds a past with a checkpoint after its tenth record and
// fifteenth report, of which the last three are of denied packets.
func shop(t *testing.T) *bus.Conn {
	t.Helper()
	ctx, conn := bustest.Context(t), bustest.Streams(t)
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1, Key: pasttest.Key})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := work.NewPublisher(ctx, conn.JS, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := pasttest.Shop(t)
	for i := range 3 {
		p.Report(work.Report{Host: "h1", Logged: &work.Logged{
			Action: work.Deny, Direction: "ingress", Policy: "GlobalNetworkPolicy db", Index: -1, Protocol: 6, Port: 22, Count: 1 + i,
			Source: netip.MustParseAddr("10.9.9.9"), Dest: netip.MustParseAddr("10.8.0.0"),
		}})
	}
	for _, r := range p.Log {
		e, err := r.Entry()
		if err == nil {
			_, err = log.Append(ctx, e.Event)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range p.Sent {
		if err := publisher.Publish(ctx, pasttest.Item(t, &s)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range p.Said {
		if err := work.NewReporter(conn, r.Host).Report(ctx, r.Report); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	return conn
}

// prove verifies a past. The items of this one were published long after their
// events, which is no problem.
func prove(t *testing.T, h *history.History) *proof.Report {
	t.Helper()
	v, err := proof.New(t.Context(), h, proof.Options{}, pasttest.Trust)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := v.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func problems(rep *proof.Report) (all []string) {
	for _, f := range rep.Findings {
		if f.Problem {
			all = append(all, fmt.Sprintf("%s %d-%d: %s", f.Kind, f.First, f.Last, f.What))
		}
	}
	return all
}

// backup reads a stream as "nats stream backup" does, and restore writes it as
// "nats stream restore" does.
func backup(t *testing.T, nc *nats.Conn, stream string) (head []byte, chunks [][]byte) {
	t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with the test
	ask, _ := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true})
	answer, err := nc.Request("$JS.API.STREAM.SNAPSHOT."+stream, ask, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("%s, answered %s: %v", stream, answer.Data, err)
		}
		if len(msg.Data) == 0 {
			return answer.Data, chunks
		}
		chunks = append(chunks, msg.Data)
		if msg.Reply != "" {
			if err := msg.Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func restore(t *testing.T, nc *nats.Conn, stream string, head []byte, chunks [][]byte) {
	t.Helper()
	var h struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(head, &h); err != nil {
		t.Fatal(err)
	}
	ask, _ := json.Marshal(h)
	answer, err := nc.Request("$JS.API.STREAM.RESTORE."+stream, ask, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	if err := json.Unmarshal(answer.Data, &to); err != nil || to.Subject == "" {
		t.Fatalf("restoring %s: %s (%v)", stream, answer.Data, err)
	}
	for _, chunk := range append(chunks, nil) {
		if answer, err = nc.Request(to.Subject, chunk, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Contains(answer.Data, []byte(`"error"`)) {
		t.Fatalf("restoring %s: %s", stream, answer.Data)
	}
}

// A past that was restored from a backup of NATS is proven as the streams were,
// with reports and their times, and its questions have the same answers. What
// was removed before the backup is missing after it.
func TestARestoredBackupIsProvenLikeTheStreams(t *testing.T) {
	t.Parallel()
	from := shop(t)
	live, err := history.Live(t.Context(), from.JS)
	if err != nil {
		t.Fatal(err)
	}
	if rep := prove(t, live); !rep.OK() || rep.Hosts.Signed != 15 || rep.Log.Signed != 10 {
		t.Fatalf("the streams: signed %d and %d, %v", rep.Log.Signed, rep.Hosts.Signed, problems(rep))
	}
	to := bustest.Connect(t, bustest.Server(t))
	for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.CheckpointsStream, bus.SnapshotsStream} {
		head, chunks := backup(t, from.NATS, name)
		restore(t, to.NATS, name, head, chunks)
	}
	restored, err := history.Live(t.Context(), to.JS)
	if err != nil {
		t.Fatal(err)
	}
	want, got := prove(t, live), prove(t, restored)
	if a, b := encode(t, want), encode(t, got); !bytes.Equal(a, b) {
		t.Errorf("restored:\n%s\nthe streams:\n%s", b, a)
	}
	for _, at := range []uint64{5, 10} {
		a, errA := live.StateAt(t.Context(), at)
		b, errB := restored.StateAt(t.Context(), at)
		if errA != nil || errB != nil || !bytes.Equal(encode(t, a), encode(t, b)) {
			t.Errorf("the states after record %d differ (%v, %v)", at, errA, errB)
		}
	}

	// Somebody with all rights on the restored server has a denied packet be forgotten.
	forget(t, to.JS, bus.ReportsStream, 14)
	found := strings.Join(problems(prove(t, restored)), "\n")
	for _, want := range []string{"report 14-14: missing", "report 1-15: altered, removed"} {
		if !strings.Contains(found, want) {
			t.Errorf("did not find %q among\n%s", want, found)
		}
	}
}

// forget removes a message by making its stream anew without what denies it.
func forget(t *testing.T, js jetstream.JetStream, stream string, seq uint64) {
	t.Helper()
	ctx := bustest.Context(t)
	head, chunks := backup(t, js.Conn(), stream)
	if err := js.DeleteStream(ctx, stream); err != nil {
		t.Fatal(err)
	}
	head = bytes.Replace(head, []byte(`"deny_delete":true`), []byte(`"deny_delete":false`), 1)
	restore(t, js.Conn(), stream, head, chunks)
	s, err := js.Stream(ctx, stream)
	if err == nil {
		err = s.SecureDeleteMsg(ctx, seq)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tampered rewrites the lines of a stream in a copy on disk, with whole frames,
// as somebody does who knows the form.
func tampered(t *testing.T, from, stream string, change func([]string) []string) *history.History {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir, stream, change)
	h, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() }) //nolint:errcheck // only read
	return h
}

func rewrite(t *testing.T, dir, stream string, change func([]string) []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, stream, "*.zst"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	packed, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var text bytes.Buffer
	if _, err := d.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	lines := change(strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"))
	segment, first, last := history.Frame(t, lines)
	said := map[string]any{}
	about := filepath.Join(dir, "copy.json")
	b, err := os.ReadFile(about)
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil {
		t.Fatal(err)
	}
	said["streams"].(map[string]any)[stream] = map[string]uint64{"first": first, "last": last, "read": last}
	if err := os.WriteFile(about, encode(t, said), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], segment, 0o600); err != nil {
		t.Fatal(err)
	}
}

// In a copy on disk, whose frames are whole and whose headers fit, each change
// of each stream is found, and its place.
func TestEachTamperingWithACopyIsFound(t *testing.T) {
	t.Parallel()
	from := shop(t)
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := history.Copy(t.Context(), from.JS, dir, history.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	whole := tampered(t, dir, bus.ReportsStream, func(l []string) []string { return l })
	if rep := prove(t, whole); !rep.OK() || rep.Hosts.Signed != 15 {
		t.Fatalf("written anew without a change, signed up to %d: %v", rep.Hosts.Signed, problems(rep))
	}
	reports := "report 1-15: altered, removed, inserted or moved among them"
	for _, c := range []struct {
		name, stream string
		change       func([]string) []string
		want         string
	}{
		{"altered", bus.EventsStream, alter(7, `"web"`, `"wxb"`), "log 8-9: altered"},
		{"removed", bus.EventsStream, remove(7), "log 8-8: missing"},
		{"inserted", bus.EventsStream, insert(7), "after 8: 8 is out of place"},
		{"exchanged", bus.EventsStream, exchange(6), "after 8: 7 is out of place"},
		{"altered", bus.WorkStream, alter(3, `"rev":`, `"rev":1`), "item"},
		{"removed", bus.WorkStream, remove(3), "made by the log, but never published"},
		{"inserted", bus.WorkStream, insert(3), "out of place"},
		{"exchanged", bus.WorkStream, exchange(3), "out of place"},
		{"altered", bus.ReportsStream, alter(13, `"port":22`, `"port":80`), reports},
		{"removed", bus.ReportsStream, remove(13), reports},
		{"inserted", bus.ReportsStream, insert(13), reports},
		{"exchanged", bus.ReportsStream, exchange(13), "after 13: 15 is out of place"},
		{"the last removed", bus.ReportsStream, remove(14), "report 15-15: missing at the end"},
		{"altered", bus.CheckpointsStream, alter(0, `"last":15`, `"last":14`), "its signature does not fit"},
		{"altered to be an old one", bus.CheckpointsStream, alter(0, `"reports":`, `"before":`), "its signature does not fit"},
		{"removed", bus.CheckpointsStream, remove(0), "no trusted key vouches for them"},
	} {
		t.Run(c.stream+" "+c.name, func(t *testing.T) {
			t.Parallel()
			found := strings.Join(problems(prove(t, tampered(t, dir, c.stream, c.change))), "\n")
			if !strings.Contains(found, c.want) {
				t.Errorf("did not find %q among\n%s", c.want, found)
			}
		})
	}
}

func alter(i int, what, into string) func([]string) []string {
	return func(l []string) []string {
		if !strings.Contains(l[i], what) {
			panic("no " + what + " in " + l[i])
		}
		l[i] = strings.Replace(l[i], what, into, 1)
		return l
	}
}

func remove(i int) func([]string) []string {
	return func(l []string) []string { return slices.Delete(l, i, i+1) }
}

func insert(i int) func([]string) []string {
	return func(l []string) []string { return slices.Insert(l, i+1, l[i]) }
}

func exchange(i int) func([]string) []string {
	return func(l []string) []string { l[i], l[i+1] = l[i+1], l[i]; return l }
}
