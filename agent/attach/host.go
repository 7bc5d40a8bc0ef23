package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host attaches tasks to the network namespace that it was opened in.
type Host struct {
	nl   *netlink.Handle // looks and removes
	rt   *conn           // makes
	ipv6 ipv6
	// turn lets one attach at a time change interfaces: the kernel has one lock
	// for all of them, and writers of /proc/sys/net spin on it.
	turn sync.Mutex
}

// Open connects to the calling thread's network namespace and lets it forward.
func Open() (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for interfaces: %w", err)
	}
	rt, err := dial()
	if err != nil {
		nl.Close()
		return nil, err
	}
	h := &Host{nl: nl, rt: rt}
	if h.ipv6, err = openIPv6(); err == nil {
		_, err = h.Forward()
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Close lets go of the connections.
func (h *Host) Close() {
	h.ipv6.Close()
	h.nl.Close()
	h.rt.Close() //nolint:errcheck // nothing is on its way
}

// Forward lets the host forward IPv4, and says whether it did not before. It
// writes only then: writing resets the setting of every interface.
func (h *Host) Forward() (changed bool, err error) {
	const path = "/proc/sys/net/ipv4/ip_forward"
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 && b[0] == '1' {
		return false, nil
	}
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		return false, fmt.Errorf("letting the host forward: %w", err)
	}
	return true, nil
}

// Attach makes the pair, of which one end is inside, all but the task's way out:
// see LeadOut. A pair of that name that is there, whole or half made, is replaced.
// When it fails nothing is left.
func (h *Host) Attach(s Spec, in *Inside) (err error) {
	h.turn.Lock()
	defer h.turn.Unlock()
	pair, err := h.makePair(s, in.ns)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Detach(s.Veth))
		}
	}()
	if err := in.ipv6.off(s.Iface); err != nil {
		return fmt.Errorf("setting up %s in %s: %w", s.Iface, in.path, err)
	}
	if err := h.open(s, pair.index); err != nil {
		return fmt.Errorf("setting up %s: %w", s.Veth, err)
	}
	if _, err := in.rt.do(taskSide(pair.peer, s)...); err != nil {
		return fmt.Errorf("setting up %s in %s: %w", s.Iface, in.path, err)
	}
	if err := h.awaitCarrier(s.Veth); err != nil {
		return fmt.Errorf("setting up %s: %w", s.Veth, err)
	}
	in.index = pair.peer
	return nil
}

// LeadOut gives the task that was attached its default route, once the firewall
// vouches for it. A task that runs already cannot send before: what it sent would be
// lost without a word, and TCP tries again only after a second.
func (h *Host) LeadOut(s Spec, in *Inside) error {
	if _, err := in.rt.do(wayOut(in.index, s)); err != nil {
		return fmt.Errorf("leading out of %s: %w", in.path, err)
	}
	return nil
}

// makePair makes the pair, down and without addresses.
func (h *Host) makePair(s Spec, ns int) (*link, error) {
	pair, err := h.rt.do(makePair(s, ns), getLink(s.Veth))
	if errors.Is(err, syscall.EEXIST) { // ours is there, or theirs: a second try tells
		if err := h.Detach(s.Veth); err != nil {
			return nil, err
		}
		pair, err = h.rt.do(makePair(s, ns), getLink(s.Veth))
	}
	if err != nil {
		return nil, err
	}
	return pair, nil
}

// open closes the host's side to what it must not carry, sets it up, and leads
// the way to the task.
func (h *Host) open(s Spec, index int) error {
	if err := h.closeIPv6(s.Veth); err != nil {
		return err
	}
	_, err := h.rt.do(closeHost(index), setUpDeaf(index),
		addNeighbour(index, s.Address, taskMAC(s.Address)),
		hostRoute(index, s.Address).put(replace))
	return err
}

// closeIPv6 turns IPv6 off on an interface of the host.
func (h *Host) closeIPv6(iface string) (err error) {
	v := h.ipv6
	if v == noIPv6 { // its module may have come since
		if v, err = openIPv6(); err != nil {
			return err
		}
		defer v.Close()
	}
	return v.off(iface)
}

// carrierTimeout is how long the kernel may take to notice that the other end
// is up. It does so in a work queue, mostly within a millisecond; since Linux
// 6.8 to look is to have it done.
const carrierTimeout = 3 * time.Second

// awaitCarrier waits until the host's side, which went up first, sends: before
// that its packets are dropped without a word. The task's side, which went up when
// the other was, sends from that moment.
func (h *Host) awaitCarrier(veth string) error {
	limit := time.Now().Add(carrierTimeout)
	for {
		link, err := h.rt.do(getLink(veth))
		switch {
		case err != nil:
			return err
		case link.sends:
			return nil
		case time.Now().After(limit):
			return fmt.Errorf("it has no carrier after %s: %w", carrierTimeout, ErrDiffers)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func hostRoute(index int, a netip.Addr) route {
	return route{index: index, to: netip.PrefixFrom(a, 32), protocol: Protocol}
}

// Detach removes pairs with their addresses, routes and neighbours. One that
// is not there is no error.
func (h *Host) Detach(veths ...string) error {
	// To remove an interface the kernel waits for its readers, 20 ms and more;
	// for a whole group it waits once.
	if len(veths) > 1 {
		if err := h.rt.regroup(veths); err != nil {
			return fmt.Errorf("grouping %d interfaces to remove them: %w", len(veths), err)
		}
		_, err := h.rt.do(removeGroup)
		if err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("removing %d interfaces: %w", len(veths), err)
		}
		return nil
	}
	for _, veth := range veths {
		if _, err := h.rt.do(removeLink(veth)); err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("removing %s: %w", veth, err)
		}
	}
	return nil
}

// taskSide sets up the task's end, inside its namespace.
func taskSide(index int, s Spec) []step {
	const loopback = 1 // its index in every namespace
	steps := []step{
		setUp("lo", loopback),
		addAddress(index, s.Address),
		setUp("it", index),
		addNeighbour(index, Gateway, hostMAC),
		route{index: index, to: netip.PrefixFrom(Gateway, 32), priority: metric(index, s)}.put(replace),
	}
	if s.Iface != firstNetwork {
		// What has the address as its source goes out by its own interface: by
		// another the host would take it for forged. The route to the gateway is in
		// the main table.
		back := route{index: index, to: everywhere, via: Gateway, table: furtherNetworks + index, onlink: true}
		steps = append(steps, back.put(replace), ruleFrom(s.Address, back.table))
	}
	return steps
}

// wayOut is the task's default route.
func wayOut(index int, s Spec) step {
	out := route{index: index, to: everywhere, via: Gateway, priority: metric(index, s)}.put(exclusive)
	out.fine = unix.EEXIST
	return out
}

// metric ranks the routes of a task's networks. Each keeps its own, whatever is
// attached meanwhile, and eth0's come first.
func metric(index int, s Spec) int {
	if s.Iface == firstNetwork {
		return 0
	}
	return furtherNetworks + index
}

// firstNetwork is the task's interface on the first of its networks
// (CLUSTER-API 5.1).
const firstNetwork = "eth0"

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// furtherNetworks is the first metric and table of routes on a task's second
// and later networks.
const furtherNetworks = 100
