package marathon

import "errors"

// Errors that end a connection to Marathon; the source then tries again.
var (
	// ErrSilent: nothing arrived for longer than the heartbeat allows.
	ErrSilent = errors.New("the stream fell silent")
	// ErrNotAttached: the stream ended before its first event, which is how a
	// Marathon that was just elected says that it is not ready; or none came.
	ErrNotAttached = errors.New("the stream was not attached")
	// ErrTooLarge: an answer is larger than Config.MaxAnswer.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrNotMarathon: an answer that no Marathon gives, though its status is 200.
	ErrNotMarathon = errors.New("not what Marathon answers")
	// ErrForeign: another Marathon than the one whose apps are known.
	ErrForeign = errors.New("another Marathon")

	// ErrStalled: an answer stopped arriving in its middle.
	ErrStalled = errors.New("the answer stopped arriving")

	errNotFound  = errors.New("not found")
	errForbidden = errors.New("may not be viewed")
)
