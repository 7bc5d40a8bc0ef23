package history_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// Whatever somebody publishes who may write to a stream is found, with its place.
func TestWhatStrangersPublishIsFound(t *testing.T) {
	t.Parallel()
	const noRecord = "log 11-11: record 11: not a valid event: link: a hash has 64 hex digits, not 0"
	for name, c := range map[string]struct {
		subject, data string
		header        nats.Header
		want          string
	}{
		"junk in the log":                    {"taskwall.events", "junk", nil, ""}, // told, but no problem: see TestMessagesOfOthersInTheLog
		"a record without a link":            {"taskwall.events", "junk", nats.Header{"Taskwall-Writer": {"w"}}, noRecord},
		"junk as a work item":                {"WORK.h1", "junk", nil, "what is stored at 12 cannot be read: decoding a work item"},
		"an item of a later revision":        {"WORK.h1", `{"host":"h1","rev":99,"cause":10,"time":"2026-03-01T12:00:00Z","snapshot":true}`, nil, "what is stored at 12 cannot be read: epoch"},
		"an item of another host":            {"WORK.h1", `{"host":"h2","rev":99,"cause":10,"time":"2026-03-01T12:00:00Z","snapshot":true}`, nil, "what is stored at 12 cannot be read: a work item of \"h2\" came to \"h1\""},
		"junk as a claim":                    {"WORKFENCE", "junk", nil, ""},
		"junk as a report":                   {"REPORTS.h1", "junk", nil, "report 16-16: cannot be read"},
		"an answer for more than there is":   {"REPORTS.h1", `{"id":"x","host":"h1","time":"2026-03-01T12:00:00Z","applied":{"rev":99}}`, nil, "report 16: the host says that it applied revision 99, published is no more than 5"},
		"junk as a checkpoint":               {"taskwall.checkpoints", "junk", nil, "log 10-10: the checkpoint numbered 2 cannot be read: invalid character"},
		"a checkpoint of more than there is": {"taskwall.checkpoints", `{"seq":99,"hash":"5f5e","time":"2026-03-01T12:00:00Z","key":"x","signature":"x"}`, nil, "log 10-10: the checkpoint numbered 2 cannot be read: a hash has 64 hex digits"},
		"junk as a snapshot":                 {"taskwall.snapshots.7", "junk", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := shop(t)
			if _, err := conn.JS.PublishMsg(bustest.Context(t), &nats.Msg{Subject: c.subject, Data: []byte(c.data), Header: c.header}); err != nil {
				t.Fatal(err)
			}
			h, err := history.Live(t.Context(), conn.JS)
			if err != nil {
				t.Fatal(err)
			}
			v, err := proof.New(t.Context(), h, proof.Options{}, pasttest.Trust)
			found := fmt.Sprint(err)
			if err == nil {
				rep, err := v.Run(t.Context())
				if found = fmt.Sprint(err); err == nil {
					found = strings.Join(problems(rep), "\n")
				}
			}
			if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
				t.Errorf("did not find %q among\n%s", c.want, found)
			}
			if _, err := h.StateAt(t.Context(), 10); err != nil {
				t.Errorf("the state: %v", err)
			}
			h.Trust(pasttest.Trust)
			if _, err := h.StateAt(t.Context(), 10); err != nil {
				t.Errorf("the state, with keys to trust: %v", err)
			}
			last := uint64(10)
			if c.subject == "taskwall.events" {
				last = 11
			}
			// The end of a log whose last record cannot be read is not known, and said not to be.
			if seq, err := h.SeqAt(t.Context(), time.Now()); (err != nil || seq != last) && c.want != noRecord {
				t.Errorf("the last record: %d, %v", seq, err)
			}
		})
	}
}
