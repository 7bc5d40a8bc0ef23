package bgp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/events/work"
)

// path is an announcement as the engine takes it. Of what drains, everyone
// inside the autonomous system prefers any other, and those outside are told
// to (RFC 8326).
func path(a work.Announcement, drain bool) (*apiutil.Path, error) {
	nlri, err := bgp.NewIPAddrPrefix(a.Prefix.Masked())
	if err != nil {
		return nil, fmt.Errorf("announcing %s: %w", a.Prefix, err)
	}
	// The session's own address takes the place of 0.0.0.0.
	hop, err := bgp.NewPathAttributeNextHop(netip.IPv4Unspecified())
	if err != nil {
		return nil, fmt.Errorf("announcing %s: %w", a.Prefix, err)
	}
	attrs := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP), hop}
	var plain []uint32
	var large []*bgp.LargeCommunity
	for _, c := range a.Communities {
		if strings.Count(c, ":") == 2 {
			l, err := bgp.ParseLargeCommunity(c)
			if err != nil {
				return nil, fmt.Errorf("announcing %s: community %q: %w", a.Prefix, c, err)
			}
			large = append(large, l)
			continue
		}
		value, err := community(c)
		if err != nil {
			return nil, fmt.Errorf("announcing %s: %w", a.Prefix, err)
		}
		plain = append(plain, value)
	}
	if drain {
		plain = append(plain, gracefulShutdown)
		attrs = append(attrs, bgp.NewPathAttributeLocalPref(0))
	}
	if len(plain) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeCommunities(plain))
	}
	if len(large) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeLargeCommunities(large))
	}
	return &apiutil.Path{Family: bgp.RF_IPv4_UC, Nlri: nlri, Attrs: attrs}, nil
}

// community reads "64512:100" (RFC 1997).
func community(text string) (uint32, error) {
	high, low, ok := strings.Cut(text, ":")
	h, err1 := strconv.ParseUint(high, 10, 16)
	l, err2 := strconv.ParseUint(low, 10, 16)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("community %q: want two numbers of 16 bits, such as 64512:100", text)
	}
	return uint32(h)<<16 | uint32(l), nil
}
