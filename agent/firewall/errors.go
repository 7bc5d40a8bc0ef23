package firewall

import "errors"

var (
	// ErrRule means that a rule cannot be expressed; its program is closed.
	ErrRule = errors.New("the rule cannot be programmed")
	// ErrFull means that the host has no free posture number.
	ErrFull = errors.New("the host has too many postures")
)
