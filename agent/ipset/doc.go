// Package ipset edits kernel IP sets over netlink: no fork, and one system
// call for many edits.
//
//	Edit{Set, Add, []Entry} ─▶ Conn ─▶ NETLINK_NETFILTER, subsystem ipset
//	Set{Header, []Entry}    ◀─ Conn ◀─
//
// It knows the three types that the firewall needs: networks, addresses with
// protocol and port, and networks bound to an interface that carry a packet
// mark (skbinfo). The vishvananda library has neither marks nor several
// elements per message, which is why this package exists.
package ipset
