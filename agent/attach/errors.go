package attach

import "errors"

var (
	// ErrNamespace means that the task's network namespace is not there.
	ErrNamespace = errors.New("the task's network namespace is not there")
	// ErrDiffers means that an attachment is not as it should be.
	ErrDiffers = errors.New("the attachment is not as it should be")
)
