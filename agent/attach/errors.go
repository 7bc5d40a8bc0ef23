package attach

import "errors"

var (
	// ErrNamespace means that the task's network namespace is not there.
	ErrNamespace = errors.New("the task's network namespace is not there")
	// ErrShared means that a process has no network namespace of its own, or one
	// with another way out.
	ErrShared = errors.New("it must have a network namespace of its own with nothing in it (docker run --net=none)")
	// ErrHost means that a namespace is the host's own.
	ErrHost = errors.New("it is the host's own network namespace, and a task must have one of its own")
	// ErrDiffers means that an attachment is not as it should be.
	ErrDiffers = errors.New("the attachment is not as it should be")
)
