package eventlog

import (
	"errors"

	"github.com/taskwall/taskwall/events/bus"
)

var (
	// ErrFenced means that a writer with a later epoch, or another of the same,
	// has appended: this one must stop.
	ErrFenced = bus.ErrFenced
	// ErrGone means that the asked records are no longer kept: start from a
	// snapshot.
	ErrGone = errors.New("records are no longer kept")
	// ErrMissing means that records in the middle of the log are missing.
	ErrMissing = errors.New("records are missing from the log")
	// ErrInvalid means that an event, or a stored record, is not well formed.
	ErrInvalid = errors.New("not a valid event")
	// ErrTooLarge means that an event is larger than the message bus takes.
	ErrTooLarge = bus.ErrTooLarge
)
