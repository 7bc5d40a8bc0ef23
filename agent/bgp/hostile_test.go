package bgp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/agent/bgp"
)

// raw is a peer that says what the test wants.
type raw struct {
	t testing.TB
	net.Conn
}

// dialRaw opens a session from a router's address.
func dialRaw(t testing.TB, r *router, asn uint16, hold uint16) *raw {
	t.Helper()
	var p *raw
	eventually(t, "a session", func() error {
		c, err := r.ns.DialFrom("tcp", routerOn(r.i).String(), fmt.Sprintf("%s:%d", hostOn(r.i), port))
		if err != nil {
			return err
		}
		p = &raw{t, c}
		if err := p.open(asn, hold); err != nil {
			c.Close()
			return err
		}
		return nil
	})
	t.Cleanup(func() { p.Close() })
	return p
}

func (p *raw) open(asn, hold uint16) error {
	caps := packet.NewOptionParameterCapability([]packet.ParameterCapabilityInterface{
		packet.NewCapRouteRefresh(), packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(uint32(asn)),
	})
	m, err := packet.NewBGPOpenMessage(asn, hold, p.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(), []packet.OptionParameterInterface{caps})
	if err != nil {
		return err
	}
	if err := p.send(m); err != nil {
		return err
	}
	if err := p.send(packet.NewBGPKeepAliveMessage()); err != nil {
		return err
	}
	for range 2 { // OPEN and KEEPALIVE
		if kind, _, err := p.next(); err != nil || kind == packet.BGP_MSG_NOTIFICATION {
			return fmt.Errorf("message %d: %w", kind, errors.Join(err, errors.New("no session")))
		}
	}
	return nil
}

func (p *raw) send(m *packet.BGPMessage) error {
	b, err := m.Serialize()
	if err != nil {
		return err
	}
	_, err = p.Write(b)
	return err
}

// next reads a message.
func (p *raw) next() (kind uint8, body []byte, err error) {
	if err := p.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, nil, err
	}
	head := make([]byte, 19)
	if _, err := io.ReadFull(p, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(binary.BigEndian.Uint16(head[16:]))-len(head))
	_, err = io.ReadFull(p, body)
	return head[18], body, err
}

// update writes an UPDATE of raw parts.
func (p *raw) update(attrs, nlri []byte) {
	body := append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs))), attrs...)
	p.message(packet.BGP_MSG_UPDATE, append(body, nlri...))
}

func (p *raw) message(kind byte, body []byte) {
	head := make([]byte, 19)
	for i := range 16 {
		head[i] = 0xff
	}
	binary.BigEndian.PutUint16(head[16:], uint16(19+len(body)))
	head[18] = kind
	p.Write(append(head, body...)) //nolint:errcheck // the other end may have had enough
}

// The attributes of a good route by 198.51.100.2 in 64999, and 10.0.N.0/24.
func good() []byte {
	return []byte{
		0x40, 1, 1, 0, // ORIGIN IGP
		0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe7, // AS_PATH 64999
		0x40, 3, 4, 198, 51, 100, 2, // NEXT_HOP
	}
}

func nlri(n byte) []byte { return []byte{24, 10, 0, n} }

// Whatever a peer sends, its harm ends with its own session and routes.
func TestHostilePeer(t *testing.T) {
	noLeaks(t)
	r, noisy, silent := newRouter(t, 0), newRouter(t, 2), newRouter(t, 3)
	newRouter(t, 1).start(64998, 64512, "|graceful restart on;", "10.0.9.0/24")
	s := speak(t, bgp.Config{})
	b := config(peerOn(0, 64999), peerOn(1, 64998), peerOn(2, 64999), peerOn(3, 64999))
	s.apply(b)
	s.established("r1")
	other := via("10.0.9.0/24", 1)

	p := dialRaw(t, r, 64999, 90)
	p.update(good(), append(nlri(1), nlri(2)...))
	eventually(t, "learned", kernelHas(t, via("10.0.1.0/24", 0), via("10.0.2.0/24", 0), other))
	// A wrong ORIGIN: the route is treated as withdrawn, the session goes on (RFC 7606).
	bad := good()
	bad[3] = 9
	p.update(bad, nlri(1))
	eventually(t, "withdrawn", kernelHas(t, via("10.0.2.0/24", 0), other))
	p.update(good(), nlri(3))
	eventually(t, "goes on", kernelHas(t, via("10.0.2.0/24", 0), via("10.0.3.0/24", 0), other))
	// Networks that cannot be read: the session ends.
	p.update(good(), []byte{77, 10, 0})
	for {
		kind, body, err := p.next()
		if err != nil {
			t.Fatalf("no notification: %v", err)
		}
		if kind == packet.BGP_MSG_NOTIFICATION {
			if body[0] != packet.BGP_ERROR_UPDATE_MESSAGE_ERROR {
				t.Errorf("notification %v", body)
			}
			break
		}
	}
	eventually(t, "all of it is gone", kernelHas(t, other))
	eventually(t, "it is said why", func() error {
		if l := s.last("r0"); l.State == "established" || !strings.Contains(strings.ToLower(l.Error), "update") {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})

	// Noise, well wrapped, for as long as it is listened to.
	seed := time.Now().UnixNano()
	noise := rand.New(rand.NewPCG(uint64(seed), 1))
	p = dialRaw(t, noisy, 64999, 90)
	for i := range 2000 {
		attrs := good()
		for range 1 + noise.IntN(4) {
			attrs[noise.IntN(len(attrs))] = byte(noise.Uint32())
		}
		if i%3 == 0 {
			p.message(byte(noise.IntN(7)), attrs)
		} else {
			p.update(attrs, nlri(byte(noise.Uint32())))
		}
	}
	p.Close()
	eventually(t, fmt.Sprintf("the other peer is not touched (seed %d)", seed), kernelHas(t, other))

	// Silence: the hold timer ends it.
	p = dialRaw(t, silent, 64999, 3)
	p.update(good(), nlri(4)) // by way of the first's link
	eventually(t, "learned", kernelHas(t, via("10.0.4.0/24", 0), other))
	eventually(t, "given up", kernelHas(t, other))
	eventually(t, "it is said why", func() error {
		if l := s.last("r3"); !strings.Contains(strings.ToLower(l.Error), "hold") {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	if l := s.last("r1"); l.Flaps > 1 || l.State != "established" {
		t.Errorf("the other peer: %+v", l)
	}
}
