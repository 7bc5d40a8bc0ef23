package scheduler

import "errors"

// ErrPoolFull means that no pool that an endpoint may draw from has an address
// left for its host.
var ErrPoolFull = errors.New("no free address")

// ErrNoPool means that no pool admits the endpoint.
var ErrNoPool = errors.New("no address pool admits it")
