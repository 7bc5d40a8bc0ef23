package bgp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/agent/bgp"
)

// hello is an OPEN's body: its version, number, hold time, identifier and
// optional parameters.
func hello(version byte, asn, hold uint16, id [4]byte, params ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{version}, asn)
	b = append(binary.BigEndian.AppendUint16(b, hold), id[:]...)
	return append(append(b, byte(len(params))), params...)
}

// knock connects from a router without a word.
func knock(t *testing.T, r *router) *raw {
	t.Helper()
	var p *raw
	eventually(t, "connected", func() error {
		c, err := r.ns.DialFrom("tcp", routerOn(r.i).String(), fmt.Sprintf("%s:%d", hostOn(r.i), port))
		if err == nil {
			p = &raw{t, c}
		}
		return err
	})
	t.Cleanup(func() { p.Close() })
	return p
}

// answer is the first notification, nil when the connection ends without one.
func (p *raw) answer() []byte {
	for {
		kind, body, err := p.next()
		if err != nil {
			return nil
		}
		if kind == packet.BGP_MSG_NOTIFICATION {
			return body
		}
	}
}

// Whoever does not open a session as he should is told why (RFC 4271, 6.1, 6.2
// and 6.5) and hinders nobody, not even himself: the next attempt may be right.
func TestOpenErrors(t *testing.T) {
	noLeaks(t)
	whole := func(kind byte, body ...byte) []byte {
		head := append(bytes.Repeat([]byte{0xff}, 16), 0, byte(19+len(body)), kind)
		return append(head, body...)
	}
	header := func(marker byte, length uint16, kind byte) []byte {
		return append(binary.BigEndian.AppendUint16(bytes.Repeat([]byte{marker}, 16), length), kind)
	}
	id := [4]byte{198, 51, 100, 2}
	cases := []struct {
		name          string
		sent          []byte
		code, subcode byte
	}{
		{"marker", append(header(0, 29, 1), hello(4, 64999, 90, id)...), 1, 1},
		{"shorter than a header", header(0xff, 18, 1), 1, 2},
		{"longer than a message", header(0xff, 65535, 1), 1, 2},
		{"unknown kind", whole(9), 1, 3},
		{"version", whole(1, hello(3, 64999, 90, id)...), 2, 1},
		{"number", whole(1, hello(4, 64997, 90, id)...), 2, 2},
		{"identifier 0", whole(1, hello(4, 64999, 90, [4]byte{})...), 2, 3},
		{"hold time", whole(1, hello(4, 64999, 2, id)...), 2, 6},
		{"KEEPALIVE first", whole(4), 5, 1},
		{"UPDATE first", whole(2, 0, 0, 0, 0), 5, 1},
	}
	last := len(cases)
	newRouter(t, last).start(64998, 64512, "|graceful restart on;", "10.0.9.0/24")
	b := config(peerOn(last, 64998))
	var routers []*router
	for i := range cases {
		routers = append(routers, newRouter(t, i))
		b.Peers = append(b.Peers, peerOn(i, 64999))
	}
	s := speak(t, bgp.Config{})
	s.apply(b)
	other := fmt.Sprintf("r%d", last)
	s.established(other)
	for i, c := range cases {
		p := knock(t, routers[i])
		p.Write(c.sent) //nolint:errcheck // the answer says more
		if got := p.answer(); len(got) < 2 || got[0] != c.code || got[1] != c.subcode {
			t.Errorf("%s: the answer is %v, not %d %d", c.name, got, c.code, c.subcode)
		}
		p.Close()
	}
	for _, r := range routers {
		dialRaw(t, r, 64999, 90)
	}
	if l := s.last(other); l.Flaps > 1 || l.State != "established" {
		t.Errorf("the other peer: %+v", l)
	}
}

// announced is whether an UPDATE's body announces 10.0.0.0/24, the host's own.
func announced(body []byte) bool { return bytes.HasSuffix(body, []byte{24, 10, 0, 0}) }

// A peer that asks again is told again (RFC 2918), and what it asks for of
// other families, or in a way that nobody understands, changes nothing.
func TestRouteRefresh(t *testing.T) {
	noLeaks(t)
	r := newRouter(t, 0)
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64999)))
	p := dialRaw(t, r, 64999, 90)
	p.update(good(), nlri(1))
	told := func() {
		t.Helper()
		for limit := time.Now().Add(20 * time.Second); ; {
			kind, body, err := p.next()
			switch {
			case err != nil && time.Now().After(limit):
				t.Fatalf("not told: %v", err)
			case kind == packet.BGP_MSG_NOTIFICATION:
				t.Fatalf("the session ends: %v", body)
			case kind == packet.BGP_MSG_UPDATE && announced(body):
				return
			}
		}
	}
	told()
	p.message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 0, 1})
	told()
	for _, ask := range [][]byte{{0, 2, 0, 1}, {0, 1, 0, 128}, {99, 99, 9, 99}, {0, 1, 1, 1}, {0, 1, 2, 1}, {0, 1, 7, 1}} {
		p.message(packet.BGP_MSG_ROUTE_REFRESH, ask)
	}
	p.message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 0, 1})
	told()
	eventually(t, "still there", kernelHas(t, via("10.0.1.0/24", 0)))
	s.established("r0")
	if l := s.last("r0"); l.Flaps > 1 {
		t.Errorf("the session: %+v", l)
	}
}
