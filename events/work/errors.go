package work

import (
	"errors"

	"github.com/taskwall/taskwall/events/bus"
)

var (
	// ErrGap means that items of a host are missing: the host must ask for its
	// whole picture.
	ErrGap = errors.New("items are missing")
	// ErrFenced means that another publisher has taken over: this one must stop.
	ErrFenced = bus.ErrFenced
)
