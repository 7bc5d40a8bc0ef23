package attach

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change is what Watch saw: an interface that went or was set down, or a route
// that was removed. The zero value means that something was missed.
type Change struct {
	Veth  string
	Route netip.Prefix
}

// Watch calls changed soon after one of our routes was removed or one of our
// interfaces went or was set down, by whomever, also by ourselves, until the
// context ends.
func Watch(ctx context.Context, changed func(Change)) error {
	done := make(chan struct{})
	defer close(done)
	lost := func(error) { changed(Change{}) } // notifications were lost: there were many
	routes, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.LinkUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: lost}); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: lost}); err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-routes:
			if !ok {
				return fmt.Errorf("watching routes: the kernel closed the socket")
			}
			if r.Type == unix.RTM_DELROUTE && r.Protocol == Protocol && r.Dst != nil {
				if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
					ones, _ := r.Dst.Mask.Size()
					changed(Change{Route: netip.PrefixFrom(a.Unmap(), ones)})
				}
			}
		case l, ok := <-links:
			if !ok {
				return fmt.Errorf("watching interfaces: the kernel closed the socket")
			}
			down := l.Header.Type == unix.RTM_DELLINK || l.Attrs().Flags&unix.IFF_UP == 0
			if down && strings.HasPrefix(l.Attrs().Name, "tw") {
				changed(Change{Veth: l.Attrs().Name})
			}
		}
	}
}
