package bgp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
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

// FuzzUpdate reads an UPDATE's body as the engine does. What is made of its
// paths here never fails, takes what lies in a network that may be learned only,
// and finds the loops that the engine's policies find.
func FuzzUpdate(f *testing.F) {
	for _, body := range []string{
		"0000" + "0014" + "40010100" + "40020602010000fde7" + "400304c6336402" + "18c0a807",
		"0000" + "001e" + "40010100" + "4002100202" + "0000fc000000fde7" + "0101" + "0000fc00" + "400304c6336402" + "180a4001",
		"0004" + "180a4001" + "0000",
	} {
		b, err := hex.DecodeString(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(0))
	}
	const own = 64512
	router := netip.MustParseAddr("198.51.100.2")
	f.Fuzz(func(t *testing.T, body []byte, allowed uint8) {
		m, err := packet.ParseBGPBody(&packet.BGPHeader{Type: packet.BGP_MSG_UPDATE, Len: uint16(19 + len(body))}, body)
		if m == nil || m.Body == nil || err != nil {
			return
		}
		update, allow := m.Body.(*packet.BGPUpdate), allowed%11 // as many as numAllowedLocalASNumbers may say
		p := &peer{session: newSession("r0", router, time.Unix(0, 0)), conf: work.BGPPeer{AllowOwnASN: allow}}
		s := &Speaker{conf: &work.BGP{ASN: own}, admission: lab, peers: map[netip.Addr]*peer{router: p}, refusals: newRefusals()}
		for _, n := range update.NLRI {
			path := &apiutil.Path{Family: packet.RF_IPv4_UC, Nlri: n.NLRI, Attrs: update.PathAttributes, PeerAddress: router}
			s.judged([]*apiutil.Path{path}, time.Unix(0, 0))
			nextHop(path)
			prefix, ok := prefixOf(path)
			_, refused := p.refused[prefix]
			looped := loops(path, own, int(allow))
			if ok && !refused && !looped && lab.refuse(prefix) != "" {
				t.Fatalf("%s is not refused", prefix)
			}
			for _, a := range path.Attrs {
				if as, ok := a.(*packet.PathAttributeAsPath); ok {
					text := packet.AsPathString(as)
					if found := regexp.MustCompile(fmt.Sprintf(loop, own, allow+1)).MatchString(text); found != looped {
						t.Fatalf("the path %q loops: %v, the policies say %v", text, looped, found)
					}
					break
				}
			}
		}
	})
}
