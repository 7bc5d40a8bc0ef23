package firewall_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/policy"
)

// ether is a host under test with wires to tasks and to the world, whose far
// ends all lie in one namespace that has no addresses: nothing there answers,
// every packet is written and read as it is.
//
//	far namespace:  t0   t1   …   w0        w1
//	                │    │        │         ▲
//	host:          tw0  tw1  …   out0 ···  out1   (···: the probe's way, past the firewall)
//
// A veth hands each packet to the queue of the processor that sends it, in
// order. All is sent by one thread on one processor, so what was sent before a
// probe has arrived, or never will, when the probe arrives.
type ether struct {
	t    *testing.T
	wire []link // of the tasks
	out  link
	fd   int // sends and hears in the far namespace
	id   uint16
}

// link is a veth pair as the host and as the far namespace know it.
type link struct {
	host     netlink.Link
	far      int // index
	hostAddr net.HardwareAddr
	farAddr  net.HardwareAddr
}

// probeTo is an address in the world that lies behind out1.
var probeTo = netip.MustParseAddr("203.0.113.9")

func newEther(t *testing.T, wires int) *ether {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if was.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.SchedSetaffinity(0, &was) })
	for name, value := range map[string]string{"ip_forward": "1", "conf/all/rp_filter": "0", "conf/default/rp_filter": "0", "conf/all/send_redirects": "0", "conf/default/send_redirects": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e := &ether{t: t}
	far := netlab.New(t)
	for i := range wires {
		e.wire = append(e.wire, e.join(far, fmt.Sprintf("tw%d", i), fmt.Sprintf("t%d", i)))
	}
	e.out = e.join(far, "out0", "w0")
	probed := e.join(far, "out1", "w1")
	e.route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), e.out)
	e.route(netip.PrefixFrom(probeTo, 32), probed)
	e.neighbour(probeTo, probed)
	far.Do(func() (err error) {
		// Bound to one protocol it hears only what comes in.
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP))); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(e.fd) })
		if err := unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3}); err != nil {
			return err
		}
		return unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	})
	return e
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// join makes a wire. A link-layer address that both sides know is all they need.
func (e *ether) join(far *netlab.Namespace, here, there string) link {
	e.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = here
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: there, PeerNamespace: netlink.NsFd(far.FD())}); err != nil {
		e.t.Fatal(err)
	}
	var l link
	far.Do(func() error {
		n, err := netlink.LinkByName(there)
		if err != nil {
			return err
		}
		l.far, l.farAddr = n.Attrs().Index, n.Attrs().HardwareAddr
		return netlink.LinkSetUp(n)
	})
	var err error
	if l.host, err = netlink.LinkByName(here); err == nil {
		err = netlink.LinkSetUp(l.host)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { netlink.LinkDel(l.host) })
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // the kernel notices in its own time
		n, err := netlink.LinkByName(here)
		if err != nil {
			e.t.Fatal(err)
		}
		l.hostAddr = n.Attrs().HardwareAddr
		if n.Attrs().OperState == netlink.OperUp {
			return l
		}
		if time.Now().After(limit) {
			e.t.Fatalf("%s has no carrier", here)
		}
	}
}

func (e *ether) route(to netip.Prefix, l link) {
	e.t.Helper()
	dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}
	if err := netlink.RouteReplace(&netlink.Route{Dst: dst, LinkIndex: l.host.Attrs().Index, Scope: netlink.SCOPE_LINK}); err != nil {
		e.t.Fatalf("routing %s: %v", to, err)
	}
}

func (e *ether) neighbour(a netip.Addr, l link) {
	e.t.Helper()
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: l.host.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: l.farAddr}); err != nil {
		e.t.Fatalf("telling where %s is: %v", a, err)
	}
}

// place puts an address at the end of a wire.
func (e *ether) place(a netip.Addr, l link) {
	e.t.Helper()
	e.route(netip.PrefixFrom(a, 32), l)
	e.neighbour(a, l)
}

// outside puts addresses into the world.
func (e *ether) outside(addrs ...netip.Addr) {
	for _, a := range addrs {
		e.place(a, e.out)
	}
}

// shot is a packet to send, and what came of it.
type shot struct {
	policy.Packet
	src, dst netip.Addr
	from, to link
	arrived  bool
}

// perProbe is how many packets are on their way at a time: the kernel's queue for
// packets that come in has room for 1,000 of all namespaces.
const perProbe = 250

// send sends all packets and notes which of them arrive, and that they do where
// they should.
func (e *ether) send(shots []shot) {
	e.t.Helper()
	for few := range slices.Chunk(shots, perProbe) {
		e.sendFew(few)
	}
}

// sendFew sends them, and after them a probe that arrives, or never before them.
// On a machine with much else to do the kernel may lose some of them: without the
// probe nothing is known, and all are sent again.
func (e *ether) sendFew(shots []shot) {
	e.t.Helper()
	first := e.id + 1
	e.id += uint16(len(shots)) + 1
	b := make([]byte, 2048)
	for deadline, again := time.Now().Add(2*time.Minute), true; ; {
		if again {
			for i, s := range shots {
				e.write(packet(s.Packet, s.src, s.dst, first+uint16(i)), s.from)
			}
			e.write(packet(policy.Packet{Protocol: 17, SrcPort: 9, DstPort: 9}, netip.MustParseAddr("203.0.113.1"), probeTo, e.id), e.out)
		}
		n, from, err := unix.Recvfrom(e.fd, b, 0)
		again = errors.Is(err, unix.EAGAIN) && time.Now().Before(deadline)
		switch {
		case again, errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			e.t.Fatalf("waiting for the probe: %v", err)
		case n < 20:
			continue
		}
		id := binary.BigEndian.Uint16(b[4:])
		dst := netip.AddrFrom4([4]byte(b[16:20]))
		if dst == probeTo && id == e.id {
			return
		}
		i := int(id - first)
		if i >= len(shots) || shots[i].dst != dst {
			continue // of the host itself
		}
		s := &shots[i]
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Ifindex != s.to.far {
			e.t.Fatalf("%+v arrived at another end: %+v", s.Packet, from)
		}
		s.arrived = true
	}
}

func (e *ether) write(b []byte, l link) {
	e.t.Helper()
	to := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: l.far, Halen: 6}
	copy(to.Addr[:], l.hostAddr)
	if err := unix.Sendto(e.fd, b, 0, &to); err != nil {
		e.t.Fatalf("sending: %v", err)
	}
}
