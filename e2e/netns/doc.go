// Package netns builds hosts for tests as network namespaces on one Ethernet
// segment, and takes them away again.
//
//	<prefix>-fabric          a bridge in a namespace of its own
//	  br0 ── h0 ══ eth0   <prefix>-a   192.168.50.11/24
//	      └─ h1 ══ eth0   <prefix>-b   192.168.50.12/24
//
// Further segments (Segment, Join) make a wider network of them, and can be cut.
//
// The root namespace is never touched: both ends of each veth pair are made
// inside the namespaces that hold them. The namespaces are named ones, so that
// `ip netns exec <prefix>-a` works for people. Everything carries the prefix,
// so that Leftovers can tell what a test forgot.
package netns
