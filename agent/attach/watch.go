package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

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
	for {
		err := watch(ctx, changed)
		if !errors.Is(err, errClosed) {
			return err
		}
		changed(Change{}) // what was missed meanwhile
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(againAfter):
		}
	}
}

// The netlink library gives a subscription up when the kernel had more to say
// than its socket holds, as when thousands of routes are learned at once.
var errClosed = errors.New("the subscription ended")

const (
	againAfter = 100 * time.Millisecond
	roomFor    = 4 << 20 // bytes of notifications: some 20,000
)

func watch(ctx context.Context, changed func(Change)) error {
	done := make(chan struct{})
	defer close(done)
	lost := func(error) { changed(Change{}) } // notifications were lost: there were many
	routes, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.LinkUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: lost, ReceiveBufferSize: roomFor, ReceiveBufferForceSize: true}); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: lost, ReceiveBufferSize: roomFor, ReceiveBufferForceSize: true}); err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-routes:
			if !ok {
				return fmt.Errorf("watching routes: %w", errClosed)
			}
			if p, ok := Prefix(r.Dst); ok && r.Type == unix.RTM_DELROUTE && r.Protocol == Protocol {
				changed(Change{Route: p})
			}
		case l, ok := <-links:
			if !ok {
				return fmt.Errorf("watching interfaces: %w", errClosed)
			}
			if wentDown(l) && strings.HasPrefix(l.Attrs().Name, "tw") {
				changed(Change{Veth: l.Attrs().Name})
			}
		}
	}
}

// wentDown tells an interface that was set down, or is gone, from one that was
// just made and is not up yet: of that the kernel says that all flags changed.
func wentDown(l netlink.LinkUpdate) bool {
	const isNew = 1<<32 - 1
	return l.Header.Type == unix.RTM_DELLINK ||
		l.Flags&unix.IFF_UP == 0 && l.Change&unix.IFF_UP != 0 && l.Change != isNew
}
