package bgp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/events/work"
)

// What the engine tells of a path says whether it is refused now, and each
// refusal counts once, however often the path is judged.
func TestRefusedPathsAreToldApart(t *testing.T) {
	router, now := netip.MustParseAddr("198.51.100.2"), time.Unix(0, 0)
	p := &peer{session: newSession("r0", router, now)}
	s := &Speaker{conf: &work.BGP{ASN: 64512}, admission: lab, peers: map[netip.Addr]*peer{router: p}, refusals: newRefusals()}
	nlri, err := packet.NewIPAddrPrefix(prefix("192.168.7.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	attrs := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(0)}
	for i, c := range []struct {
		path    apiutil.Path
		accept  bool // 192.168.0.0/16 may be learned
		refused bool
		count   uint64
	}{
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true}, refused: true, count: 1},                // the policies took it out
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true}, refused: true, count: 1},                // as the session ends
		{path: apiutil.Path{Attrs: attrs}, accept: true, count: 1},                                   // they let it in
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true}, refused: true, count: 2},                // they do no more
		{path: apiutil.Path{Withdrawal: true}, count: 2},                                             // the peer took it back
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true}, refused: true, count: 3},                // and offers it again
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true, Stale: true}, count: 3},                  // not after its restart
		{path: apiutil.Path{Attrs: attrs, Withdrawal: true}, accept: true, refused: false, count: 3}, // as the session ends
	} {
		s.admission.accept = lab.accept
		if c.accept {
			s.admission.accept = append(lab.accept[:len(lab.accept):len(lab.accept)], prefix("192.168.0.0/16"))
		}
		c.path.Family, c.path.Nlri, c.path.PeerAddress = packet.RF_IPv4_UC, nlri, router
		s.judged([]*apiutil.Path{&c.path}, now)
		if _, refused := p.refused[prefix("192.168.7.0/24")]; refused != c.refused || s.refusals.total["r0"] != c.count {
			t.Errorf("step %d: refused %v, %d counted", i, refused, s.refusals.total["r0"])
		}
	}
}
