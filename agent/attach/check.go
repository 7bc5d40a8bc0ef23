package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check says whether the host's side of an attachment is as it should be:
// ErrDiffers, with what differs, if not.
func (h *Host) Check(s Spec) error {
	link, err := h.nl.LinkByName(s.Veth)
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.Veth, errors.Join(ErrDiffers, err))
	}
	if link.Attrs().Flags&unix.IFF_UP == 0 {
		return fmt.Errorf("interface %s is down: %w", s.Veth, ErrDiffers)
	}
	routes, err := h.nl.RouteListFiltered(unix.AF_INET, hostRoute(link.Attrs().Index, s.Address), netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("listing the routes of %s: %w", s.Veth, err)
	}
	if len(routes) == 0 {
		return fmt.Errorf("route to %s: %w", s.Address, ErrDiffers)
	}
	return nil
}

// CheckTask says whether the task's side has its address and routes.
func (h *Host) CheckTask(s Spec) error {
	ns, err := os.Open(s.Namespace)
	if err != nil {
		return fmt.Errorf("opening %s: %w", s.Namespace, errors.Join(ErrNamespace, err))
	}
	defer ns.Close()
	nl, err := enter(int(ns.Fd()), func() error { return nil })
	if err != nil {
		return fmt.Errorf("entering %s: %w", s.Namespace, err)
	}
	defer nl.Close()
	link, err := nl.LinkByName(s.Iface)
	if err != nil {
		return fmt.Errorf("interface %s in %s: %w", s.Iface, s.Namespace, errors.Join(ErrDiffers, err))
	}
	addrs, err := nl.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("listing the addresses of %s in %s: %w", s.Iface, s.Namespace, err)
	}
	for _, a := range addrs {
		if a.IP.Equal(s.Address.AsSlice()) {
			return nil
		}
	}
	return fmt.Errorf("address %s on %s in %s: %w", s.Address, s.Iface, s.Namespace, ErrDiffers)
}

// Mend repairs the host's side: the interface up with its settings, neighbour and
// route. It cannot make a pair that is gone; that is ErrDiffers.
func (h *Host) Mend(s Spec) error {
	if err := h.hostSide(s); err != nil {
		return fmt.Errorf("mending %s: %w", s.Veth, errors.Join(ErrDiffers, err))
	}
	return nil
}

// Interfaces lists the host's interfaces that carry our name and are veths:
// those that tasks have or had.
func (h *Host) Interfaces() ([]string, error) {
	links, err := h.nl.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		links, err = h.nl.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	var names []string
	for _, l := range links {
		if n := l.Attrs().Name; strings.HasPrefix(n, "tw") && len(n) == nameLength && l.Type() == "veth" {
			names = append(names, n)
		}
	}
	return names, nil
}

// Addresses are the host's own IPv4 addresses.
func (h *Host) Addresses() (map[netip.Addr]bool, error) {
	list, err := h.nl.AddrList(nil, unix.AF_INET)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		list, err = h.nl.AddrList(nil, unix.AF_INET)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			own[ip.Unmap()] = true
		}
	}
	return own, nil
}

// nameLength is the length of what Name returns.
const nameLength = 13
