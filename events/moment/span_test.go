package moment_test

import (
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/moment"
)

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 1, "4m5s": 4*time.Minute + 5*time.Second, "47h59m59s": 48*time.Hour - time.Second,
		"2d 0h 0m 0s": 48 * time.Hour, "31d 1h 2m 3s": 31*24*time.Hour + time.Hour + 2*time.Minute + 3*time.Second + 400*time.Millisecond,
	} {
		if got := moment.Span(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}
