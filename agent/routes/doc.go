// Package routes installs the static routes between hosts of one layer-2
// domain: each host's block of addresses by way of that host.
//
//	work.Route{10.0.1.0/24, via 192.0.2.11} ─▶ 10.0.1.0/24 via 192.0.2.11 proto 84
//	work.Route{10.0.0.0/24}                 ─▶ unreachable 10.0.0.0/24 proto 84
//
// The second is the host's own block. Its tasks have routes of their own to
// their addresses; a packet to an address of the block that no task has must
// not leave the host by the default route, and its sender is told at once.
package routes
