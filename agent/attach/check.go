package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Survey is a look at all of the host's interfaces and our routes at once: two
// dumps, whatever the number of attachments.
type Survey struct {
	links  map[string]face    // by name
	routes map[netip.Addr]int // interface of our route to an address
}

// Survey looks at the host.
func (h *Host) Survey() (*Survey, error) {
	links, err := faces()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		links, err = faces()
	}
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	list := func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	}
	routes, err := list()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		routes, err = list()
	}
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	s := &Survey{links: links, routes: map[netip.Addr]int{}}
	for _, r := range routes {
		if r.Dst == nil || r.Gw != nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			if ones, _ := r.Dst.Mask.Size(); ones == 32 {
				s.routes[a.Unmap()] = r.LinkIndex
			}
		}
	}
	return s, nil
}

// Whole says whether the host's side of an attachment was made to its end and is
// still there: ErrDiffers, with what is missing, if not.
func (s *Survey) Whole(spec Spec) error {
	l, there := s.links[spec.Veth]
	switch {
	case !there:
		return fmt.Errorf("interface %s was gone: %w", spec.Veth, ErrDiffers)
	case !l.up:
		return fmt.Errorf("interface %s was down: %w", spec.Veth, ErrDiffers)
	case s.routes[spec.Address] != l.index:
		return fmt.Errorf("route to %s was missing: %w", spec.Address, ErrDiffers)
	}
	return nil
}

// Check is Whole, and says whether the interface's settings are as they should be.
func (s *Survey) Check(spec Spec) error {
	if err := s.Whole(spec); err != nil {
		return err
	}
	l := s.links[spec.Veth]
	switch {
	case !l.deaf:
		return fmt.Errorf("ARP of %s was on: %w", spec.Veth, ErrDiffers)
	case l.wrong != "":
		return fmt.Errorf("%s of %s was changed: %w", l.wrong, spec.Veth, ErrDiffers)
	}
	return nil
}

// Check is Survey.Check for one attachment.
func (h *Host) Check(spec Spec) error {
	s, err := h.Survey()
	if err != nil {
		return err
	}
	return s.Check(spec)
}

// Whole is Survey.Whole for one attachment.
func (h *Host) Whole(spec Spec) error {
	s, err := h.Survey()
	if err != nil {
		return err
	}
	return s.Whole(spec)
}

// Mend repairs the host's side: the interface up with its settings, neighbour and
// route. It cannot make a pair that is gone; that is ErrDiffers. It does not wait until
// the interface sends, which takes the kernel a moment: never, while the task keeps
// its own side down.
func (h *Host) Mend(s Spec) error {
	host, err := h.rt.do(getLink(s.Veth))
	if err == nil {
		err = h.open(s, host.index)
	}
	if err != nil {
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

// Inner is the name of the task's side of a pair, found from the host's side.
func (h *Host) Inner(veth string) (string, error) {
	host, err := h.rt.do(getLink(veth))
	if err == nil && host.away < 0 {
		err = fmt.Errorf("its other end is in no other namespace: %w", ErrDiffers)
	}
	var task *link
	if err == nil {
		task, err = h.rt.do(getPeer(host.peer, host.away))
	}
	if err != nil {
		return "", fmt.Errorf("finding the other end of %s: %w", veth, err)
	}
	return task.name, nil
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
