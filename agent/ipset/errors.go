package ipset

import "errors"

// Sentinels for what the kernel says about a set.
var (
	// ErrInUse means that a rule or another set still refers to the set.
	ErrInUse = errors.New("the set is in use")
	// ErrAbsent means that there is no set of that name.
	ErrAbsent = errors.New("there is no such set")
	// ErrOtherType means that a set of that name has another type, or was made
	// with other settings: how many elements it takes, a timeout, what they carry.
	ErrOtherType = errors.New("a set of that name has another type or other settings")
	// ErrFull means that a set has as many elements as it can take.
	ErrFull = errors.New("the set is full")
)
