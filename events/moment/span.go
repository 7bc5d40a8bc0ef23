package moment

import (
	"fmt"
	"time"
)

// Span is a length of time to the second, for people: 4m5s, 31h7m0s, and from two
// days on 5d 7h 42m 10s.
func Span(d time.Duration) string {
	d = d.Round(time.Second)
	const day = 24 * time.Hour
	if d < 2*day {
		return d.String()
	}
	rest := d % day
	return fmt.Sprintf("%dd %dh %dm %ds", d/day, rest/time.Hour, rest%time.Hour/time.Minute, rest%time.Minute/time.Second)
}
