package attach

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host attaches tasks to the network namespace that it was opened in.
type Host struct {
	nl *netlink.Handle
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
	h := &Host{nl: nl}
	if _, err := h.Forward(); err != nil {
		nl.Close()
		return nil, err
	}
	return h, nil
}

// Close lets go of the connection.
func (h *Host) Close() { h.nl.Close() }

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

// Attach makes the pair. A pair of that name that is there, whole or half made,
// is replaced. When it fails nothing is left.
func (h *Host) Attach(s Spec) (err error) {
	ns, err := os.Open(s.Namespace)
	if err != nil {
		return fmt.Errorf("opening %s: %w", s.Namespace, errors.Join(ErrNamespace, err))
	}
	defer ns.Close()
	if err := h.Detach(s.Veth); err != nil {
		return err
	}
	h.turn.Lock()
	defer h.turn.Unlock()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = s.Veth, s.MTU, hostMAC
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         s.Iface, // made in place: moving it there later costs 15 ms
		PeerNamespace:    netlink.NsFd(ns.Fd()),
		PeerHardwareAddr: taskMAC(s.Address),
	}
	if err := h.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("making %s with %s in %s: %w", s.Veth, s.Iface, s.Namespace, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Detach(s.Veth))
		}
	}()
	task, err := enter(int(ns.Fd()), func() error { return closeIPv6(s.Iface) })
	if err != nil {
		return fmt.Errorf("entering %s: %w", s.Namespace, err)
	}
	defer task.Close()
	index, err := taskSide(task, s)
	if err != nil {
		return fmt.Errorf("setting up %s in %s: %w", s.Iface, s.Namespace, err)
	}
	if err := h.hostSide(s); err != nil {
		return fmt.Errorf("setting up %s: %w", s.Veth, err)
	}
	if err := awaitCarrier(task, index); err != nil {
		return fmt.Errorf("%s in %s: %w", s.Iface, s.Namespace, err)
	}
	return nil
}

// carrierTimeout is how long the kernel may take to notice that the other end
// is up: it does so in a work queue, mostly within a millisecond.
const carrierTimeout = 3 * time.Second

// awaitCarrier waits until the task's side, which went up first, sends: before
// that its packets are dropped without a word.
func awaitCarrier(nl *netlink.Handle, index int) error {
	limit := time.Now().Add(carrierTimeout)
	for {
		link, err := nl.LinkByIndex(index)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("it has no carrier after %s: %w", carrierTimeout, ErrDiffers)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (h *Host) hostSide(s Spec) error {
	link, err := h.nl.LinkByName(s.Veth)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	if err := writeSettings(s.Veth); err != nil {
		return err
	}
	if err := h.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting it up: %w", err)
	}
	if err := h.nl.NeighSet(neighbour(index, s.Address, taskMAC(s.Address))); err != nil {
		return fmt.Errorf("fixing the task's hardware address: %w", err)
	}
	if err := h.nl.RouteReplace(hostRoute(index, s.Address)); err != nil {
		return fmt.Errorf("adding the route to the task: %w", err)
	}
	return nil
}

func hostRoute(index int, a netip.Addr) *netlink.Route {
	return &netlink.Route{LinkIndex: index, Dst: single(a), Scope: netlink.SCOPE_LINK, Protocol: Protocol}
}

func neighbour(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// Detach removes the pair with its addresses, routes and neighbours. One that
// is not there is no error.
func (h *Host) Detach(veth string) error {
	link, err := h.nl.LinkByName(veth)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return nil
	case err != nil:
		return fmt.Errorf("looking for %s: %w", veth, err)
	}
	if err := h.nl.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("removing %s: %w", veth, err)
	}
	return nil
}

// settings close what a task could use against its host. Each is a file under
// /proc/sys/net with %s for the interface; one that the kernel lacks (no IPv6)
// is passed over when it closes something that is then not there.
var settings = []struct {
	path, value string
	optional    bool
}{
	{"ipv6/conf/%s/disable_ipv6", "1", true},
	{"ipv4/conf/%s/forwarding", "1", false},
	{"ipv4/conf/%s/rp_filter", "1", false},
	{"ipv4/conf/%s/proxy_arp", "1", false},
	{"ipv4/neigh/%s/proxy_delay", "0", false},
	{"ipv4/conf/%s/accept_redirects", "0", false},
	{"ipv4/conf/%s/send_redirects", "0", false},
	{"ipv4/conf/%s/accept_source_route", "0", false},
}

func writeSettings(iface string) error {
	for _, s := range settings {
		path := fmt.Sprintf("/proc/sys/net/"+s.path, iface)
		if b, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(b)) == s.value {
			continue // to write some of them takes the lock on all interfaces
		}
		err := os.WriteFile(path, []byte(s.value), 0o644)
		if err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// closeIPv6 turns IPv6 off on an interface of the calling thread's namespace.
func closeIPv6(iface string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+iface+"/disable_ipv6", []byte("1"), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the kernel has no IPv6
	}
	return err
}

// taskSide sets up the task's end, inside its namespace, and returns the
// interface's index there.
func taskSide(nl *netlink.Handle, s Spec) (index int, err error) {
	if lo, err := nl.LinkByName("lo"); err == nil {
		if err := nl.LinkSetUp(lo); err != nil {
			return 0, fmt.Errorf("setting lo up: %w", err)
		}
	}
	link, err := nl.LinkByName(s.Iface)
	if err != nil {
		return 0, err
	}
	index = link.Attrs().Index
	if err := nl.AddrReplace(link, &netlink.Addr{IPNet: single(s.Address)}); err != nil {
		return 0, fmt.Errorf("adding %s: %w", s.Address, err)
	}
	if err := nl.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("setting it up: %w", err)
	}
	if err := nl.NeighSet(neighbour(index, Gateway, hostMAC)); err != nil {
		return 0, fmt.Errorf("fixing the gateway's hardware address: %w", err)
	}
	if err := nl.RouteReplace(&netlink.Route{LinkIndex: index, Dst: single(Gateway), Scope: netlink.SCOPE_LINK}); err != nil {
		return 0, fmt.Errorf("adding the route to the gateway: %w", err)
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	via := &netlink.Route{LinkIndex: index, Dst: all, Gw: Gateway.AsSlice()}
	if s.Iface != "eth0" {
		if err := wayBack(nl, s.Address, *via); err != nil {
			return 0, err
		}
		via.Priority = furtherNetworks + index // eth0 has the default, whichever comes first
	}
	if err := nl.RouteAdd(via); err != nil && !errors.Is(err, syscall.EEXIST) {
		return 0, fmt.Errorf("adding the default route: %w", err)
	}
	return index, nil
}

// furtherNetworks is the first metric and table of routes on a task's second
// and later networks.
const furtherNetworks = 100

// wayBack sends what has the address as its source out by its own interface:
// by another the host would take it for forged.
func wayBack(nl *netlink.Handle, a netip.Addr, via netlink.Route) error {
	via.Table = furtherNetworks + via.LinkIndex
	via.Flags = int(netlink.FLAG_ONLINK) // the route to the gateway is in the main table
	if err := nl.RouteReplace(&via); err != nil {
		return fmt.Errorf("adding the route back from %s: %w", a, err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table = unix.AF_INET, single(a), via.Table
	if err := nl.RuleAdd(rule); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("adding the rule for packets from %s: %w", a, err)
	}
	return nil
}

// enter opens a netlink handle inside a namespace and runs f there. The handle
// stays in that namespace and can be used from any thread.
func enter(ns int, f func() error) (*netlink.Handle, error) {
	type result struct {
		nl  *netlink.Handle
		err error
	}
	done := make(chan result)
	go func() {
		back, err := lockThread()
		if err != nil {
			done <- result{err: err}
			return
		}
		var r result
		if r.err = netns.Set(netns.NsHandle(ns)); r.err == nil {
			if r.nl, r.err = netlink.NewHandle(unix.NETLINK_ROUTE); r.err == nil {
				if r.err = f(); r.err != nil {
					r.nl.Close()
				}
			}
		}
		back()
		done <- r
	}()
	r := <-done
	return r.nl, r.err
}
