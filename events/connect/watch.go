package connect

import (
	"io"
	"time"
)

// Watch is a reader that calls Expired when one Read waits for longer than
// Patience. Time in which nobody reads does not count. Expired must make the
// Read return, by cancelling the request whose body it is.
type Watch struct {
	R        io.Reader
	Patience time.Duration // may be changed between reads
	Expired  func()
}

// Read reads from R.
func (w *Watch) Read(p []byte) (int, error) {
	t := time.AfterFunc(w.Patience, w.Expired)
	defer t.Stop()
	return w.R.Read(p)
}
