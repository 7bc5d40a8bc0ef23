package attach

import (
	"crypto/sha256"
	"encoding/base32"
	"net"
	"net/netip"
	"strings"
)

// Spec is one attachment.
type Spec struct {
	Veth      string     // name of the host's side: see Name
	Namespace string     // path of the task's network namespace
	Iface     string     // name of the task's side, e.g. "eth0"
	Address   netip.Addr // the endpoint's
	MTU       int        // 0: the kernel's default for veth (1500)
}

// Gateway is every task's next hop: a link-local address that no interface
// has. The task is told its hardware address: nobody answers ARP for it.
var Gateway = netip.MustParseAddr("169.254.1.1")

// Protocol marks the routes that are ours (rtm_protocol, as `ip route` shows
// it: "proto 84"). What has it and is not wanted is swept.
const Protocol = 84

// Name is the host side's interface name for an endpoint on a network: 13
// bytes of the kernel's 15, the same after a restart.
func Name(endpoint, network string) string {
	sum := sha256.Sum256([]byte(endpoint + "\x00" + network))
	return "tw" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:11])
}

// hostMAC is the host side's hardware address, the same on every interface: a
// task that moves sees no new neighbour. It is locally administered.
var hostMAC = net.HardwareAddr{0x02, 't', 'w', 0, 0, 1}

// taskMAC is made from the endpoint's address, so the host need not ask for it.
func taskMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 't', b[0], b[1], b[2], b[3]}
}
