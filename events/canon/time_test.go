package canon

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestTimeReadsAsTimeDoes reads times, and what is left of them when a few bytes
// are others.
func TestTimeReadsAsTimeDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
	const bytes = "0123456789-:.,TZtz+ "
	taken := 0
	check := func(s string) {
		var want time.Time
		errWant := want.UnmarshalText([]byte(s))
		got, err := Time([]byte(s))
		if (err == nil) != (errWant == nil) || got != want { //nolint:revive // the location, too
			t.Fatalf("%q: %#v, %v; package time says %#v, %v", s, got, err, want, errWant)
		}
		if _, ok := utc([]byte(s)); ok {
			taken++
		}
	}
	for _, s := range []string{
		"", "Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z",
		"2026-01-01T00:00:00.1234567891Z", "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+01:00",
		"2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01t00:00:00Z", "2026-1-01T00:00:00Z", "2026-01-01T00:00:00",
	} {
		check(s)
	}
	for range 100_000 {
		at := time.Unix(rnd.Int64N(253402300800), rnd.Int64N(1e9)).UTC()
		if rnd.IntN(3) == 0 {
			at = at.Truncate(time.Duration([]int{1e3, 1e6, 1e9}[rnd.IntN(3)]))
		}
		text := []byte(at.Format(time.RFC3339Nano))
		for range rnd.IntN(3) {
			text[rnd.IntN(len(text))] = bytes[rnd.IntN(len(bytes))]
		}
		check(string(text))
	}
	if taken < 20_000 {
		t.Errorf("only %d were read the quick way", taken)
	}
}
