package eventlog

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
)

// A stored record and an exported copy may hold anything: they give an error
// or an event that the fold can take, never more.

func FuzzRecord(f *testing.F) {
	zero := Hash{}.String()
	f.Add(zero, "1", "", []byte(`{"v":1,"id":"x","kind":"task.gone","gone":{"key":"k"}}`))
	f.Add(zero, "1", "s2", []byte{0x05, 0x10, 'h', 'e', 'l', 'l', 'o'})
	f.Add("", "-1", "zip", []byte(nil))
	f.Fuzz(func(t *testing.T, prev, epoch, encoding string, data []byte) {
		r, err := recordOf(1, time.Time{}, nats.Header{prevHeader: {prev}, writerHeader: {"w"}, bus.EpochHeader: {epoch}, "Taskwall-Encoding": {encoding}}, data)
		if err != nil {
			return
		}
		if e, err := r.Entry(); err == nil {
			if err := Validate(&e.Event); err != nil {
				t.Fatalf("an invalid event came through: %v", err)
			}
		}
	})
}

func FuzzImport(f *testing.F) {
	head := `{"taskwall":"event log","version":1,"first":1,"last":2}` + "\n"
	f.Add(head)
	f.Add(head + `{"checkpoint":{"seq":1,"hash":"` + Hash{}.String() + `","time":"2026-01-01T00:00:00Z","key":"k","signature":"AA=="}}` + "\n")
	f.Add(head + `{"seq":1,"prev":"` + Hash{}.String() + `","epoch":1,"writer":"w","event":{"v":1,"id":"x","kind":"task.gone","gone":{"key":"k"}}}` + "\n")
	f.Add(head + `{"seq":18446744073709551615,"raw":"AA=="}` + "\n" + `{"seq":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		x, err := ImportReader(strings.NewReader(text))
		if err != nil {
			return
		}
		rep, err := verifyCopy(x, testKey("log").Public().(ed25519.PublicKey))
		if err == nil && rep.OK() && rep.Records > 0 && rep.Signed > 0 && !bytes.Contains([]byte(text), []byte("signature")) {
			t.Fatalf("proof out of nothing: %+v", rep)
		}
	})
}
