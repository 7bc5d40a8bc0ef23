package mesos

import "errors"

// Errors that end a connection to a master; the source then tries again.
var (
	// ErrSilent: nothing arrived for several heartbeat intervals. A master
	// that evicts a subscriber leaves the connection open and silent.
	ErrSilent = errors.New("the stream fell silent")
	// ErrTooLarge: a record or an answer is larger than Config.MaxRecord.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrFraming: the stream is not RecordIO.
	ErrFraming = errors.New("not a RecordIO record")
	// ErrContentType: the answer is in neither of the two encodings.
	ErrContentType = errors.New("unknown content type")

	errResync = errors.New("time to subscribe anew") // not a failure
)
