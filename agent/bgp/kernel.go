package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/routes"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Protocol marks learned routes (rtm_protocol, as `ip route` shows it); those
// of attach.Protocol are the host's own and static. Metric is their priority:
// any other route to the same network with the kernel's usual 0 wins.
const (
	Protocol = 85
	Metric   = 85
)

// hop is one way out: a gateway on a link.
type hop struct {
	via  netip.Addr
	link int
}

func (h hop) compare(o hop) int {
	return cmp.Or(h.via.Compare(o.via), cmp.Compare(h.link, o.link))
}

// maxHops bounds the ways to one network.
const maxHops = 64

// kernel edits the learned routes of the network namespace that it was opened
// in: those of Protocol and Metric in the main table, no others.
type kernel struct {
	nl *netlink.Handle
}

func openKernel() (*kernel, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for learned routes: %w", err)
	}
	return &kernel{nl: nl}, nil
}

func (k *kernel) close() { k.nl.Close() }

// list reads the learned routes.
func (k *kernel) list() (map[netip.Prefix][]hop, error) {
	rs, err := routes.List(k.nl, Protocol)
	if err != nil {
		return nil, err
	}
	out := make(map[netip.Prefix][]hop, len(rs))
	for _, r := range rs {
		if p, ok := attach.Prefix(r.Dst); ok && r.Priority == Metric {
			out[p] = hopsOf(r)
		}
	}
	return out, nil
}

// kept says whether an earlier process left routes of ours: the host was not
// started anew, and forwards what it did.
func (k *kernel) kept() (bool, error) {
	for _, protocol := range []netlink.RouteProtocol{Protocol, attach.Protocol} {
		rs, err := routes.List(k.nl, protocol)
		if err != nil || len(rs) > 0 {
			return len(rs) > 0, err
		}
	}
	return false, nil
}

func hopsOf(r netlink.Route) []hop {
	add := func(hs []hop, gw net.IP, link int) []hop {
		via, _ := netip.AddrFromSlice(gw)
		return append(hs, hop{via.Unmap(), link})
	}
	if len(r.MultiPath) == 0 {
		return add(nil, r.Gw, r.LinkIndex)
	}
	var hs []hop
	for _, n := range r.MultiPath {
		hs = add(hs, n.Gw, n.LinkIndex)
	}
	slices.SortFunc(hs, hop.compare)
	return hs
}

// put makes the ways to a network those given; had says that there is a route of
// ours to it. A route of someone else with our metric is left alone.
func (k *kernel) put(p netip.Prefix, hs []hop, had bool) error {
	r := &netlink.Route{Dst: attach.IPNet(p), Protocol: Protocol, Priority: Metric, Table: unix.RT_TABLE_MAIN}
	if len(hs) == 1 {
		r.Gw, r.LinkIndex = hs[0].via.AsSlice(), hs[0].link
	} else {
		for _, h := range hs {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{Gw: h.via.AsSlice(), LinkIndex: h.link})
		}
	}
	var err error
	if had {
		err = k.nl.RouteReplace(r)
	} else if err = k.nl.RouteAdd(r); errors.Is(err, syscall.EEXIST) {
		err = ErrForeign
	}
	if err != nil {
		return fmt.Errorf("learned route %s: %w", p, err)
	}
	return nil
}

// del removes the learned route to a network; one that is not there is no error.
func (k *kernel) del(p netip.Prefix) error {
	err := k.nl.RouteDel(&netlink.Route{Dst: attach.IPNet(p), Protocol: Protocol, Priority: Metric, Table: unix.RT_TABLE_MAIN})
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("removing learned route %s: %w", p, err)
	}
	return nil
}

// resolve finds the ways to a next hop: the hop itself on a link of the
// host's, or the gateways of the host's own route to it. It is never
// found through a route of ours: a task is no router, and a network that was
// learned says nothing about how it was learned.
func (k *kernel) resolve(next netip.Addr) ([]hop, error) {
	rs, err := k.nl.RouteGetWithOptions(next.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil {
		return nil, fmt.Errorf("next hop %s: %w: %w", next, ErrUnreachable, err)
	}
	for _, r := range rs {
		switch {
		case r.Type == unix.RTN_LOCAL:
			return nil, fmt.Errorf("next hop %s: %w: it is the host's own address", next, ErrUnreachable)
		case r.Type != unix.RTN_UNICAST:
			continue
		case r.Protocol == Protocol || r.Protocol == attach.Protocol:
			return nil, fmt.Errorf("next hop %s: %w: it is in a network of tasks", next, ErrUnreachable)
		}
		hs := hopsOf(r)
		for i := range hs {
			if !hs[i].via.IsValid() {
				hs[i].via = next // on the link
			}
		}
		return hs, nil
	}
	return nil, fmt.Errorf("next hop %s: %w", next, ErrUnreachable)
}

// addresses are the host's own, of every interface.
func (k *kernel) addresses() ([]netip.Addr, error) {
	as, err := k.nl.AddrList(nil, unix.AF_INET)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		as, err = k.nl.AddrList(nil, unix.AF_INET)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	var all []netip.Addr
	for _, a := range as {
		// The gateway of tasks is on each of their links, and a loopback
		// address on every host: neither is one that a route could take.
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.Unmap().IsLinkLocalUnicast() && !ip.Unmap().IsLoopback() {
			all = append(all, ip.Unmap())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}
