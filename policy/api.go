package policy

import (
	"net/netip"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// Endpoint is what the resolver needs to know of a network identity.
type Endpoint struct {
	ID string
	// Labels are the endpoint's own and the cluster's facts (taskwall/…). The
	// resolver keeps the map and never changes it.
	Labels map[string]string
	// Environment is the namespace of the policies that apply; "" is none.
	Environment string
	// Address is absent while the endpoint has none; it is then in no set.
	Address netip.Addr
	Ports   []events.Port
}

// Delta is what changed between two calls of Resolver.Flush. Every list is
// sorted by its key, so that equal histories give equal bytes.
type Delta struct {
	Endpoints    []EndpointPosture // endpoints whose posture is new or another
	Programs     []work.Program    // postures in use whose program is new or another
	GonePrograms []string          // postures that no endpoint has any more
	Sets         []work.Set        // sets that programs now need and did not before
	Members      []work.SetEdit    // changes of the sets that were needed before
	GoneSets     []string          // sets that no program needs any more
}

// EndpointPosture gives an endpoint its posture; "" when no policy selects it.
type EndpointPosture struct {
	ID      string
	Posture string
}
