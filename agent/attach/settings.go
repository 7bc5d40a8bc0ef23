package attach

import (
	"encoding/binary"
	"fmt"

	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hostSettings are the IPv4 settings of the host's side of a pair, by their names in
// /proc/sys/net/ipv4/conf and their numbers in linux/ip.h (IPV4_DEVCONF_…). They close
// what a task could use against its host, and let it forward what the firewall allows.
var hostSettings = []struct {
	name   string
	number uint16
	value  uint32
}{
	{"forwarding", 1, 1},
	{"proxy_arp", 3, 0},
	{"rp_filter", confRPFilter, 1}, // drops forged sources a second time
	{"accept_redirects", 4, 0},
	{"send_redirects", 6, 0},
	{"accept_source_route", 9, 0},
}

// Attributes of linux/if_link.h inside IFLA_AF_SPEC, and of linux/ipv6.h.
const (
	inetConf    = 1  // IFLA_INET_CONF: a number for each IPv4 setting, from the first on
	inet6Conf   = 2  // IFLA_INET6_CONF: the same for IPv6, from zero on
	disableIPv6 = 26 // DEVCONF_DISABLE_IPV6

	confRPFilter = 8 // IPV4_DEVCONF_RP_FILTER
	rpLoose      = 2 // what systemd sets on each new interface
)

// face is what the kernel says of an interface.
type face struct {
	index int
	up    bool
	deaf  bool   // to ARP
	wrong string // the first setting that is not as on the host's side of a pair
}

// faces are all interfaces of the calling thread's namespace, by name.
func faces() (map[string]face, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	all := make(map[string]face, len(answers))
	for _, b := range answers {
		if len(b) < unix.SizeofIfInfomsg {
			return nil, fmt.Errorf("an answer of %d bytes: %w", len(b), unix.EBADMSG)
		}
		flags := binary.NativeEndian.Uint32(b[8:])
		f := face{index: int(binary.NativeEndian.Uint32(b[4:])), up: flags&unix.IFF_UP != 0, deaf: flags&unix.IFF_NOARP != 0}
		name := ""
		nlattr.Walk(b[unix.SizeofIfInfomsg:], func(t uint16, v []byte) {
			switch t {
			case unix.IFLA_IFNAME:
				name = unix.ByteSliceToString(v)
			case unix.IFLA_AF_SPEC:
				f.wrong = differing(v)
			}
		})
		all[name] = f
	}
	return all, nil
}

// differing is the first setting in an IFLA_AF_SPEC that is another than on the
// host's side of a pair. What the kernel does not say is not looked for.
func differing(spec []byte) (name string) {
	nlattr.Walk(spec, func(family uint16, v []byte) {
		nlattr.Walk(v, func(t uint16, v []byte) {
			at := func(i int) (uint32, bool) {
				if 4*i+4 > len(v) {
					return 0, false
				}
				return binary.NativeEndian.Uint32(v[4*i:]), true
			}
			switch {
			case name != "":
			case family == unix.AF_INET && t == inetConf:
				for _, s := range hostSettings {
					is, said := at(int(s.number) - 1)
					// With the loose check the firewall still drops what is forged, before
					// it is routed.
					if said && is != s.value && !(s.number == confRPFilter && is == rpLoose) {
						name = s.name
						return
					}
				}
			case family == unix.AF_INET6 && t == inet6Conf:
				if is, said := at(disableIPv6); said && is != 1 {
					name = "disable_ipv6"
				}
			}
		})
	})
	return name
}
