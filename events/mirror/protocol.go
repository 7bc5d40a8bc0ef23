package mirror

import (
	"slices"
	"strings"
)

// Protocols are those of a port, "tcp" and "udp" in this order: of "udp,tcp"
// both, of nothing tcp. Mesos and the endpoints of Marathon's pods take any word
// for a protocol, and Marathon's documentation says "http" there
// (docs/docs/pods.md): what goes over TCP is tcp. Others have no ports.
func Protocols(said ...string) []string {
	var ps []string
	for _, list := range said {
		for p := range strings.SplitSeq(strings.ToLower(list), ",") {
			switch p = strings.TrimSpace(p); p {
			case "", "http", "https":
				p = "tcp"
			case "tcp", "udp":
			default:
				continue
			}
			if !slices.Contains(ps, p) {
				ps = append(ps, p)
			}
		}
	}
	if len(said) == 0 {
		return []string{"tcp"}
	}
	slices.Sort(ps)
	return ps
}
