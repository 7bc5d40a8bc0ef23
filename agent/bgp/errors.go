package bgp

import "errors"

// Why a configuration or a route cannot be.
var (
	ErrConfig      = errors.New("the BGP configuration makes no sense")
	ErrUnreachable = errors.New("the next hop cannot be reached")
	ErrForeign     = errors.New("the route to it is someone else's")
)
