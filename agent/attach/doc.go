// Package attach gives a task its interface: a veth pair with no bridge, no
// NAT and no overlay.
//
//	host namespace                                task's namespace
//	tw4f2a…  (host route 10.0.0.7/32) ── veth ──  eth0 10.0.0.7/32
//	         neighbour 10.0.0.7, permanent        default via 169.254.1.1 (link-local,
//	                                              neighbour permanent; nobody answers ARP)
//
// Both ends know each other's hardware address from the start, so the first
// packet needs no ARP. On the host's side ARP is off: no answer can redirect a packet, and no question
// fills the table of neighbours. IPv6 is off on both.
package attach
