package moment_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/moment"
)

func TestParse(t *testing.T) {
	t.Parallel()
	loc := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 14, 15, 0, 0, 0, loc)
	utc := func(text string) moment.Moment {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return moment.Moment{Time: at}
	}
	for text, want := range map[string]moment.Moment{
		"now":                       utc("2026-03-14T13:00:00Z"),
		"seq:4711":                  {Seq: 4711, Log: true},
		"seq:0":                     {Log: true},
		"2026-03-14T14:03:00Z":      utc("2026-03-14T14:03:00Z"),
		"2026-03-14T14:03:00.5Z":    utc("2026-03-14T14:03:00.5Z"),
		"2026-03-14T14:03:00+01:00": utc("2026-03-14T13:03:00Z"),
		"2026-03-14 14:03Z":         utc("2026-03-14T14:03:00Z"),
		"2026-03-14 14:03":          utc("2026-03-14T12:03:00Z"),
		" 2026-03-14 14:03:07 ":     utc("2026-03-14T12:03:07Z"),
		"2026-03-14":                utc("2026-03-13T22:00:00Z"),
		"14:03":                     utc("2026-03-14T12:03:00Z"),
		"2h ago":                    utc("2026-03-14T11:00:00Z"),
		"2 hours ago":               utc("2026-03-14T11:00:00Z"),
		"1h30m ago":                 utc("2026-03-14T11:30:00Z"),
		"-30d":                      utc("2026-02-12T13:00:00Z"),
		"-1y":                       utc("2025-03-14T13:00:00Z"),
		"-1w12h":                    utc("2026-03-07T01:00:00Z"),
	} {
		got, err := moment.Parse(text, now, loc)
		if err != nil || got.Seq != want.Seq || got.Log != want.Log || !got.Time.Equal(want.Time) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, why := range map[string]string{
		"":                    "write 2026-03-14T14:03:00Z",
		"last March":          "write 2026-03-14T14:03:00Z",
		"2026-02-30 12:00":    "write 2026-03-14T14:03:00Z",
		"14.03.2026":          "write 2026-03-14T14:03:00Z",
		"seq:":                "the number of a log entry",
		"seq:-1":              "the number of a log entry",
		"ago":                 "how long before now is missing",
		"-":                   "how long before now is missing",
		"2 fortnights ago":    `"fortnights" is no unit of time`,
		"-5":                  `"" is no unit of time`,
		"-d":                  "no length of time",
		"-99999999999999999s": "no length of time",
		"-9999y":              "before all times",
	} {
		_, err := moment.Parse(text, now, loc)
		if !errors.Is(err, moment.ErrSyntax) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v; want %q", text, err, why)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"now", "seq:1", "2026-03-14 14:03", "-30d", "1h30m ago"} {
		f.Add(text)
	}
	now := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := moment.Parse(text, now, time.UTC)
		if err != nil {
			return
		}
		written := fmt.Sprintf("seq:%d", m.Seq)
		if !m.Log {
			written = m.Time.Format(time.RFC3339Nano)
		}
		again, err := moment.Parse(written, now, time.UTC)
		if err != nil || again.Seq != m.Seq || again.Log != m.Log || !again.Time.Equal(m.Time) {
			t.Fatalf("%q is %v, which is %v, %v", text, m, again, err)
		}
	})
}
