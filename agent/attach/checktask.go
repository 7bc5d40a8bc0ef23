package attach

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CheckTask says whether the task's side is as Attach left it: up, with its
// address, and with its way out. ErrDiffers says what is not, and ErrNamespace that
// there is no such namespace.
func (h *Host) CheckTask(s Spec) error {
	return h.inTask(s, func(nl *netlink.Handle, link *netlink.LinkAttrs) error {
		if link.Flags&net.FlagUp == 0 {
			return fmt.Errorf("interface %s in %s is down: %w", s.Iface, s.Namespace, ErrDiffers)
		}
		// They need the route to the gateway itself only when they are made.
		tables := []int{unix.RT_TABLE_MAIN}
		if s.Iface != firstNetwork {
			tables = append(tables, furtherNetworks+link.Index)
		}
		for _, table := range tables {
			if ok, err := leadsOut(nl, link.Index, table); err != nil {
				return fmt.Errorf("listing the routes of %s in %s: %w", s.Iface, s.Namespace, err)
			} else if !ok {
				return fmt.Errorf("default route by %s in %s (table %d): %w", s.Iface, s.Namespace, table, ErrDiffers)
			}
		}
		return nil
	})
}

// HasAddress says whether the task's side is there with its address, whatever
// the task made of it otherwise.
func (h *Host) HasAddress(s Spec) error {
	return h.inTask(s, func(*netlink.Handle, *netlink.LinkAttrs) error { return nil })
}

// inTask looks at the task's side, if it is there with its address.
func (h *Host) inTask(s Spec, look func(*netlink.Handle, *netlink.LinkAttrs) error) error {
	ns, err := os.Open(s.Namespace)
	if err != nil {
		return fmt.Errorf("opening %s: %w", s.Namespace, errors.Join(ErrNamespace, err))
	}
	defer ns.Close()
	if own, err := isOwn(int(ns.Fd())); err != nil || own {
		if err == nil {
			err = fmt.Errorf("%w: %w", ErrDiffers, ErrHost)
		}
		return fmt.Errorf("entering %s: %w", s.Namespace, err)
	}
	nl, err := handle(int(ns.Fd()))
	if err != nil {
		return fmt.Errorf("entering %s: %w", s.Namespace, err)
	}
	defer nl.Close()
	link, err := nl.LinkByName(s.Iface)
	if err != nil {
		return fmt.Errorf("interface %s in %s: %w", s.Iface, s.Namespace, errors.Join(ErrDiffers, err))
	}
	addrs, err := nl.AddrList(link, unix.AF_INET)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		addrs, err = nl.AddrList(link, unix.AF_INET)
	}
	if err != nil {
		return fmt.Errorf("listing the addresses of %s in %s: %w", s.Iface, s.Namespace, err)
	}
	for _, a := range addrs {
		if a.IP.Equal(s.Address.AsSlice()) {
			return look(nl, link.Attrs())
		}
	}
	return fmt.Errorf("address %s on %s in %s: %w", s.Address, s.Iface, s.Namespace, ErrDiffers)
}

// leadsOut says whether the interface has its default route in the table.
func leadsOut(nl *netlink.Handle, index, table int) (bool, error) {
	list := func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: index, Table: table}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	}
	routes, err := list()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		routes, err = list()
	}
	for _, r := range routes {
		if to, ok := Prefix(r.Dst); ok && to == everywhere && r.Gw.Equal(Gateway.AsSlice()) {
			return true, nil
		}
	}
	return false, err
}
