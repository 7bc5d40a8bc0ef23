package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/events/work"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrRefused means that a route would cut the host off.
var ErrRefused = errors.New("the route is refused")

// Table edits the main routing table of the network namespace that it was
// opened in. It touches only routes marked with attach.Protocol; those to
// tasks (on an interface, one address) are not its own either.
type Table struct {
	nl *netlink.Handle
}

// Open connects to the calling thread's network namespace.
func Open() (*Table, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket for routes: %w", err)
	}
	return &Table{nl: nl}, nil
}

// Close lets go of the connection; the routes stay.
func (t *Table) Close() { t.nl.Close() }

// Put installs a route or replaces it.
func (t *Table) Put(r work.Route) error {
	if err := t.safe(r.Prefix); err != nil {
		return err
	}
	if err := t.nl.RouteReplace(kernelRoute(r)); err != nil {
		return fmt.Errorf("route %s via %s: %w", r.Prefix, r.Via, err)
	}
	return nil
}

// Delete removes the route to a prefix; one that is not there is no error.
func (t *Table) Delete(p netip.Prefix) error {
	err := t.nl.RouteDel(&netlink.Route{Dst: attach.IPNet(p), Protocol: attach.Protocol})
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("removing route %s: %w", p, err)
	}
	return nil
}

// Sync makes the table hold just the routes wanted, writing only what differs,
// and says in words what did and was put right. A route by way of another host that is not wanted
// stays if later says so.
func (t *Table) Sync(want map[netip.Prefix]work.Route, later func(netip.Prefix) bool) (drift []string, failures []work.Failure, err error) {
	have, err := t.list()
	if err != nil {
		return nil, nil, err
	}
	for p, k := range have {
		if _, ok := want[p]; ok || k.Gw != nil && later(p) {
			continue
		}
		if err := t.nl.RouteDel(&k); err != nil && !errors.Is(err, syscall.ESRCH) {
			failures = append(failures, work.Failure{Key: "route " + p.String(), Error: err.Error()})
			continue
		}
		drift = append(drift, fmt.Sprintf("route %s was there but not wanted", p))
	}
	for p, r := range want {
		k, ok := have[p]
		if ok && same(k, kernelRoute(r)) {
			continue
		}
		if err := t.Put(r); err != nil {
			failures = append(failures, work.Failure{Key: "route " + p.String(), Error: err.Error()})
			continue
		}
		drift = append(drift, fmt.Sprintf("route %s was missing or another", p))
	}
	slices.Sort(drift)
	return drift, failures, nil
}

// List are the IPv4 routes of a protocol in the main table.
func List(nl *netlink.Handle, protocol netlink.RouteProtocol) ([]netlink.Route, error) {
	filter := &netlink.Route{Protocol: protocol, Table: unix.RT_TABLE_MAIN}
	for {
		rs, err := nl.RouteListFiltered(unix.AF_INET, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // it changed meanwhile: read it again
		}
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		return rs, nil
	}
}

func (t *Table) list() (map[netip.Prefix]netlink.Route, error) {
	rs, err := List(t.nl, attach.Protocol)
	if err != nil {
		return nil, err
	}
	out := map[netip.Prefix]netlink.Route{}
	for _, r := range rs {
		if r.Scope == netlink.SCOPE_LINK && r.Gw == nil && r.Type == unix.RTN_UNICAST {
			continue // a task's
		}
		if p, ok := attach.Prefix(r.Dst); ok { // a default route is never ours
			out[p] = r
		}
	}
	return out, nil
}

func same(a netlink.Route, b *netlink.Route) bool {
	return a.Type == b.Type && a.Gw.Equal(b.Gw)
}

func kernelRoute(r work.Route) *netlink.Route {
	k := &netlink.Route{Dst: attach.IPNet(r.Prefix), Protocol: attach.Protocol, Table: unix.RT_TABLE_MAIN}
	if r.Via.IsValid() {
		k.Gw, k.Type = r.Via.AsSlice(), unix.RTN_UNICAST
	} else {
		k.Type = unix.RTN_UNREACHABLE
	}
	return k
}

// safe refuses what could cut the host off from its controller, its operators
// and Mesos: the default route, and a route to a network that the host itself is in.
func (t *Table) safe(p netip.Prefix) error {
	if !p.IsValid() || !p.Addr().Is4() || p.Bits() == 0 {
		return fmt.Errorf("route %s: not an IPv4 network: %w", p, ErrRefused)
	}
	addrs, err := t.nl.AddrList(nil, unix.AF_INET)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		addrs, err = t.nl.AddrList(nil, unix.AF_INET)
	}
	if err != nil {
		return fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && p.Contains(ip.Unmap()) {
			return fmt.Errorf("route %s covers the host's own address %s: %w", p, ip.Unmap(), ErrRefused)
		}
	}
	return nil
}
