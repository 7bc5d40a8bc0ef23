package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning means that another agent works on this host. Two would take the
// interfaces of each other's tasks for strays.
var ErrRunning = errors.New("another taskwall agent runs on this host")

// forOther is how long a start waits for the end of an agent that it replaces.
var forOther = 5 * time.Second

// alone makes this process the only agent that works with the state directory
// and the socket, until the file that it returns is closed: also by the kernel,
// when the process is killed.
func alone(dir, socket string, log *slog.Logger) (*os.File, error) {
	const again = 100 * time.Millisecond
	said := false
	for limit := time.Now().Add(forOther); ; time.Sleep(again) {
		hold, err := tryAlone(dir, socket)
		if !errors.Is(err, ErrRunning) || time.Now().After(limit) {
			return hold, err
		}
		if !said {
			log.Warn("waiting for the end of another agent", "because", err, "at most", forOther)
			said = true
		}
	}
}

// tryAlone locks the directory itself: on a disk that is full or read-only
// there is no other file to be had.
func tryAlone(dir, socket string) (*os.File, error) {
	hold, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	switch err = unix.Flock(int(hold.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("%w: it holds the state directory %s; stop it first", ErrRunning, dir)
	case err != nil:
		err = fmt.Errorf("locking the state directory %s: %w", dir, err)
	default:
		// One with another directory, or of a version that locked nothing.
		if c, no := net.Dial("unix", socket); no == nil {
			c.Close() //nolint:errcheck // nothing was said
			err = fmt.Errorf("%w: it answers on %s; stop it first", ErrRunning, socket)
		}
	}
	if err != nil {
		hold.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return hold, nil
}
