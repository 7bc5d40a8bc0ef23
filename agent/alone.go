package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/taskwall/taskwall/agent/nflog"
	"golang.org/x/sys/unix"
)

// ErrRunning means that another agent works on this host. Two would take the
// interfaces of each other's tasks for strays.
var ErrRunning = errors.New("another taskwall agent runs on this host")

// forOther is how long a start waits for the end of an agent that it replaces.
var forOther = 5 * time.Second

// hostGroup is the log group that an agent binds for as long as it lives, and to
// which nothing is logged: a name that the kernel gives once in the host's network
// namespace, to root alone, and takes back when the process ends ("TW" in ASCII).
const hostGroup = 0x5457

// alone makes this process the only agent of the host, and the only one that works
// with the state directory, until what it returns is closed: also by the kernel,
// when the process is killed.
func alone(dir string, log *slog.Logger) (hold, error) {
	const again = 100 * time.Millisecond
	said := false
	for limit := time.Now().Add(forOther); ; time.Sleep(again) {
		h, err := tryAlone(dir, log)
		if !errors.Is(err, ErrRunning) || time.Now().After(limit) {
			return h, err
		}
		if !said {
			log.Warn("waiting for the end of another agent", "because", err, "at most", forOther)
			said = true
		}
	}
}

// hold is what keeps other agents out.
type hold []io.Closer

func (h hold) close() {
	for _, c := range h {
		c.Close() //nolint:errcheck // nothing was written
	}
}

// tryAlone locks the directory itself: on a disk that is full or read-only
// there is no other file to be had.
func tryAlone(dir string, log *slog.Logger) (hold, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	h := hold{d}
	if err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		h.close()
		return nil, fmt.Errorf("%w: it holds the state directory %s; stop it first", ErrRunning, dir)
	} else if err != nil {
		h.close()
		return nil, fmt.Errorf("locking the state directory %s: %w", dir, err)
	}
	group, err := nflog.Open(hostGroup)
	switch {
	case errors.Is(err, nflog.ErrTaken):
		h.close()
		return nil, fmt.Errorf("%w: %w, stop it first", ErrRunning, err)
	case err != nil: // then there are no rules either, and the status says so
		log.Warn("whether another agent runs on this host, with another state directory, is not known", "error", err)
		return h, nil
	}
	return append(h, group), nil
}
