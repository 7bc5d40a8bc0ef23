// Package moment reads the words by which people name a point of the past: a
// time, or a place in the log.
package moment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Help says what Parse reads, for the help of commands.
const Help = `TIME is one of
  2026-03-14T14:03:00Z      a time with its zone (RFC 3339)
  "2026-03-14 14:03"        a time of this machine's time zone, also with seconds;
                            a day alone is its first moment, 14:03 alone is today's
  "2h ago", -30d            before now: y, w, d, h, m and s, also "1h30m ago"
  seq:4711                  right after that entry of the log
  now                       the log's end`

// ErrSyntax means that a text names no moment.
var ErrSyntax = errors.New("not a time")

// Moment is a point of the past: right after the log's entry Seq, or, when that
// is zero and Log is not set, right after the last entry received at Time or
// before.
type Moment struct {
	Seq  uint64
	Log  bool // Seq counts, also when it is 0: before the log's first entry
	Time time.Time
}

// Parse reads a moment: see Help. Times without a zone are those of loc; now is
// what words such as "ago" count from. An error is ErrSyntax, and says what to
// write.
func Parse(text string, now time.Time, loc *time.Location) (Moment, error) {
	text = strings.TrimSpace(text)
	fail := func(why string) (Moment, error) {
		return Moment{}, fmt.Errorf("%q: %w: %s", text, ErrSyntax, why)
	}
	if text == "now" {
		return Moment{Time: now}, nil
	}
	if number, ok := strings.CutPrefix(text, "seq:"); ok {
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fail("after seq: write the number of a log entry, such as seq:4711")
		}
		return Moment{Seq: seq, Log: true}, nil
	}
	if span, ok := before(text); ok {
		t, err := back(now, span)
		if err != nil {
			return fail(err.Error())
		}
		return Moment{Time: t}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return Moment{Time: t}, nil
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, loc); err == nil {
			return Moment{Time: t}, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			y, m, d := now.In(loc).Date()
			return Moment{Time: time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc)}, nil
		}
	}
	return fail(`write 2026-03-14T14:03:00Z, "2026-03-14 14:03", "2h ago", -30d or seq:4711`)
}

// before finds the span in "2h ago" and "-2h".
func before(text string) (span string, ok bool) {
	if span, ok = strings.CutSuffix(text, "ago"); ok {
		return strings.TrimSpace(span), true
	}
	return strings.CutPrefix(text, "-")
}

// back is a span such as "1d12h" before a time. Days and longer are those of the
// calendar in UTC.
func back(now time.Time, span string) (time.Time, error) {
	t := now
	if span == "" {
		return t, errors.New(`how long before now is missing; write "2h ago" or -30d`)
	}
	for rest := span; rest != ""; {
		rest = strings.TrimLeft(rest, " ")
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseUint(rest[:digits], 10, 20)
		if err != nil {
			return t, fmt.Errorf("%q is no length of time; write 90s, 30m, 2h, 30d, 6w or 1y", span)
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		count, unit := int(n), rest[:letters]
		rest = rest[letters:]
		switch unit {
		case "s", "sec", "second", "seconds":
			t = t.Add(-time.Duration(count) * time.Second)
		case "m", "min", "minute", "minutes":
			t = t.Add(-time.Duration(count) * time.Minute)
		case "h", "hour", "hours":
			t = t.Add(-time.Duration(count) * time.Hour)
		case "d", "day", "days":
			t = t.UTC().AddDate(0, 0, -count)
		case "w", "week", "weeks":
			t = t.UTC().AddDate(0, 0, -7*count)
		case "y", "year", "years":
			t = t.UTC().AddDate(-count, 0, 0)
		default:
			return t, fmt.Errorf("%q is no unit of time; use s, m, h, d, w or y", unit)
		}
	}
	if t.Year() < 1 {
		return t, fmt.Errorf("%s is before all times", span)
	}
	return t, nil
}
