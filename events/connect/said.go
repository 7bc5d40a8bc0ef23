package connect

import (
	"regexp"
	"time"
)

// quiet is how long nothing is said after something was.
const quiet = time.Minute

// local is this side's address in the text of a network error: its port is
// another each time.
var local = regexp.MustCompile(`\S+->`)

// Said decides which troubles are worth a line in the log: one that differs
// from what was said last, and no more than one a minute. The zero value has
// said nothing. It is not safe for concurrent use.
type Said struct {
	text string
	at   time.Time
}

// New reports whether a trouble is to be said now, and takes it that it is.
func (s *Said) New(trouble string, now time.Time) bool {
	trouble = local.ReplaceAllString(trouble, "")
	if trouble == s.text || !s.at.IsZero() && now.Sub(s.at) < quiet {
		return false
	}
	s.text, s.at = trouble, now
	return true
}

// Over forgets what was said: the next trouble is said at once.
func (s *Said) Over() { *s = Said{} }
