package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Fabric is an Ethernet segment, or several, and the hosts on them.
type Fabric struct {
	prefix string

	mu     sync.Mutex
	hosts  []*Host
	ports  int // made so far, for their names
	closed bool
}

// New makes an empty segment. The prefix must be unique on the machine and at
// most eight characters are wise: it begins the name of each namespace.
func New(prefix string) (*Fabric, error) {
	f := &Fabric{prefix: prefix}
	if err := create(f.name("fabric")); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Segment("br0"); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Segment adds an Ethernet segment of its own, for Host.Join. Its name is that
// of its bridge, at most 15 characters.
func (f *Fabric) Segment(name string) error {
	return Do(f.path("fabric"), func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("add bridge %s: %w", name, err)
		}
		return netlink.LinkSetUp(bridge)
	})
}

// Cut makes a segment lose every frame, without any host's interface going
// down: as when a switch between them fails. Mend ends it.
func (f *Fabric) Cut(segment string) error {
	return Do(f.path("fabric"), func() error {
		link, err := netlink.LinkByName(segment)
		if err != nil {
			return fmt.Errorf("cut %s: %w", segment, err)
		}
		return netlink.LinkSetDown(link)
	})
}

// Mend ends a Cut.
func (f *Fabric) Mend(segment string) error {
	return Do(f.path("fabric"), func() error { return linkUp(segment) })
}

// Prefix is what the fabric's namespaces begin with.
func (f *Fabric) Prefix() string { return f.prefix }

func (f *Fabric) name(host string) string { return f.prefix + "-" + host }

func (f *Fabric) path(host string) string { return "/run/netns/" + f.name(host) }

// Host adds a host with an address on the segment, in CIDR form. Further
// addresses make it a machine that also stands for others, such as a legacy
// system behind a router.
func (f *Fabric) Host(name, addr string, more ...string) (*Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	h := &Host{fabric: f, Name: name, Path: f.path(name)}
	ip, _, err := net.ParseCIDR(addr)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	h.IP = ip
	if err := create(f.name(name)); err != nil {
		return nil, err
	}
	f.hosts = append(f.hosts, h)
	if err := h.plug("br0", "eth0", append([]string{addr}, more...)); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

// Join gives the host one more interface, on a segment of its fabric, with
// addresses in CIDR form.
func (h *Host) Join(segment, ifname string, addrs ...string) error {
	h.fabric.mu.Lock()
	defer h.fabric.mu.Unlock()
	if h.fabric.closed {
		return ErrClosed
	}
	if err := h.plug(segment, ifname, addrs); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// plug joins the host to a bridge: the pair is made in the host's namespace
// with its peer already in the fabric's.
func (h *Host) plug(segment, ifname string, addrs []string) error {
	f := h.fabric
	port := fmt.Sprintf("h%d", f.ports)
	f.ports++
	fabric, err := netns.GetFromPath(f.path("fabric"))
	if err != nil {
		return fmt.Errorf("open fabric: %w", err)
	}
	defer fabric.Close()
	err = h.Do(func() error {
		pair := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: ifname},
			PeerName:      port,
			PeerNamespace: netlink.NsFd(int(fabric)),
		}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("add %s: %w", ifname, err)
		}
		for _, a := range addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return fmt.Errorf("address %s: %w", a, err)
			}
			if err := netlink.AddrAdd(pair, addr); err != nil {
				return fmt.Errorf("add address %s: %w", a, err)
			}
		}
		return netlink.LinkSetUp(pair)
	})
	if err != nil {
		return err
	}
	return Do(f.path("fabric"), func() error {
		peer, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("find bridge port: %w", err)
		}
		bridge, err := netlink.LinkByName(segment)
		if err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		if err := netlink.LinkSetMaster(peer, bridge); err != nil {
			return fmt.Errorf("join bridge: %w", err)
		}
		return netlink.LinkSetUp(peer)
	})
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// Close removes the hosts and the segment; processes that still run in them
// keep their namespaces alive but unnamed. It is safe to call it twice.
func (f *Fabric) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, h := range f.hosts {
		errs = append(errs, remove(f.name(h.Name)))
	}
	f.hosts = nil
	errs = append(errs, remove(f.name("fabric")))
	return errors.Join(errs...)
}

func remove(name string) error {
	err := netns.DeleteNamed(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}
