package agent

import "errors"

// Why an attach cannot be, in the words that the task's owner reads.
var (
	ErrUnknownContainer = errors.New("the Mesos agent does not know the container")
	ErrNoEndpoint       = errors.New("the controller has not announced the task to this host")
	ErrRefused          = errors.New("the controller refused the task a network")
	ErrNetwork          = errors.New("the task's network is another")
	ErrElsewhere        = errors.New("the endpoint is attached in another container")
	ErrOpen             = errors.New("the host's firewall is not in force yet, and nothing is attached without it")
	ErrNotReady         = errors.New("the task's policies are not in the kernel of this host yet")
	ErrGone             = errors.New("the task ended while it was attached")
)
