package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type event struct{ Type, Data string }

func all(r io.Reader, limit int) (evs []event, tooLarge int) {
	sr := NewReader(r, limit)
	for {
		e, err := sr.Next()
		switch {
		case err == nil:
			evs = append(evs, event{e.Type, string(e.Data)})
		case errors.Is(err, ErrTooLarge):
			tooLarge++
		default:
			return evs, tooLarge
		}
	}
}

func TestEventsReadHoweverTheStreamIsCut(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want []event
	}{
		"Marathon's form":            {"event: a\r\ndata: {\"x\":1}\r\n\r\nevent: b\r\ndata: 2\r\n\r\n", []event{{"a", `{"x":1}`}, {"b", "2"}}},
		"line feeds alone":           {"event: a\ndata: 1\n\n", []event{{"a", "1"}}},
		"carriage returns alone":     {"event: a\rdata: 1\r\r", []event{{"a", "1"}}},
		"mixed line ends":            {"event: a\rdata: 1\n\r\ndata: 2\r\n\n", []event{{"a", "1"}, {"message", "2"}}},
		"heartbeats":                 {"\r\n\r\nevent: a\r\ndata: 1\r\n\r\n\r\n\r\n", []event{{"a", "1"}}},
		"heartbeat inside nothing":   {"event: a\r\n\r\ndata: 1\r\n\r\n", []event{{"message", "1"}}},
		"several data lines":         {"data: 1\r\ndata\r\ndata:3\r\n\r\n", []event{{"message", "1\n\n3"}}},
		"comments, ids and retries":  {": hi\r\nid: 7\r\nretry: 5\r\nevent: a\r\ndata: 1\r\n\r\n", []event{{"a", "1"}}},
		"unknown fields":             {"what: 1\r\nDATA: 2\r\ndata: 3\r\n\r\n", []event{{"message", "3"}}},
		"only one space is eaten":    {"data:   1\r\n\r\n", []event{{"message", "  1"}}},
		"a colon in the data":        {"data: {\"a\":\"b:c\"}\r\n\r\n", []event{{"message", `{"a":"b:c"}`}}},
		"byte order mark":            {"\ufeffdata: 1\r\n\r\n\ufeffdata: 2\r\n\r\n", []event{{"message", "1"}}},
		"the end cuts an event off":  {"data: 1\r\n\r\ndata: 2\r\n", []event{{"message", "1"}}},
		"the end cuts a line off":    {"data: 1\r\n\r\ndata: 2", []event{{"message", "1"}}},
		"nothing":                    {"", nil},
		"an empty event is an event": {"data:\r\n\r\n", []event{{"message", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			for way, r := range map[string]io.Reader{
				"at once":      strings.NewReader(tt.in),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				got, _ := all(r, 1<<10)
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("%s: (-want +got)\n%s", way, d)
				}
			}
			for cut := range len(tt.in) {
				got, _ := all(io.MultiReader(strings.NewReader(tt.in[:cut]), strings.NewReader(tt.in[cut:])), 1<<10)
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("cut at %d: (-want +got)\n%s", cut, d)
				}
			}
		})
	}
}

// TestAnEventIsNotHeldBackByWhatFollows: a blank line's LF may come with the
// next heartbeat, ten seconds later.
func TestAnEventIsNotHeldBackByWhatFollows(t *testing.T) {
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, "event: a\r\ndata: 1\r\n\r") }()
	e, err := NewReader(r, 100).Next()
	if err != nil || e.Type != "a" {
		t.Errorf("got %v, %v", e, err)
	}
	_ = r.Close()
}

func TestAnEventThatIsTooLargeCostsNoOther(t *testing.T) {
	big := strings.Repeat("x", 5000)
	for name, in := range map[string]string{
		"one line":        "data: " + big + "\r\n\r\n",
		"many lines":      strings.Repeat("data: xxxxxxxxx\r\n", 500) + "\r\n",
		"a field's name":  big + ": 1\r\ndata: 1\r\n\r\n",
		"an event's type": "event: " + big + "\r\ndata: 1\r\n\r\n",
	} {
		got, tooLarge := all(strings.NewReader("data: 1\r\n\r\n"+in+"data: 2\r\n\r\n"), 1000)
		if d := cmp.Diff([]event{{"message", "1"}, {"message", "2"}}, got); d != "" || tooLarge != 1 {
			t.Errorf("%s: %d too large, (-want +got)\n%s", name, tooLarge, d)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("event: a\r\ndata: 1\r\n\r\n\r\n"), 7)
	f.Add([]byte("\ufeffdata\rdata: x\n\n: c\r\n\r"), 3)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		const limit = 64
		whole, n := all(strings.NewReader(string(in)), limit)
		for _, e := range whole {
			if len(e.Data) > limit {
				t.Fatalf("an event of %d bytes", len(e.Data))
			}
		}
		if cut < 0 || cut > len(in) {
			cut = 0
		}
		cuts, m := all(io.MultiReader(strings.NewReader(string(in[:cut])), strings.NewReader(string(in[cut:]))), limit)
		bytewise, k := all(iotest.OneByteReader(strings.NewReader(string(in))), limit)
		if d := cmp.Diff(whole, cuts); d != "" || n != m {
			t.Fatalf("cut at %d:\n%s", cut, d)
		}
		if d := cmp.Diff(whole, bytewise); d != "" || n != k {
			t.Fatalf("byte by byte:\n%s", d)
		}
	})
}
