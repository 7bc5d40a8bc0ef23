package bus

import "errors"

var (
	// ErrDenied means that the server does not permit the user to publish or
	// subscribe on a subject.
	ErrDenied = errors.New("not permitted by the server")
	// ErrFenced means that another writer has taken over: what was to be
	// published was not, and this writer must stop.
	ErrFenced = errors.New("fenced: another writer has taken over")
	// ErrDuplicate means that the stream already holds a message with the same
	// id; nothing of the batch was stored.
	ErrDuplicate = errors.New("message is already stored")
	// ErrDisconnected means that there is no connection just now: nothing was sent.
	ErrDisconnected = errors.New("not connected to the message bus")
	// ErrTooLarge means that a message is larger than the server or the reader
	// accepts.
	ErrTooLarge = errors.New("message too large")
)
