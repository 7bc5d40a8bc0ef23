// Package firewall makes the kernel enforce postures. An endpoint is never a
// chain: it is one element in each of two IP sets, and its posture (the set of
// policies that apply to it) is a chain that all of an app's instances share.
//
//	packet ─▶ mangle  tw-source: (source, interface) not in set tw-src? dropped, before the kernel routes it
//	                  tw-mark: (source, interface)      ─ set tw-src ─▶ mark bits 0-13  = the sender's posture
//	                           (destination, interface) ─ set tw-dst ─▶ mark bits 14-27 = the receiver's posture
//	       ─▶ filter  tw-forward: a task's source (set tw-own), not from a task's interface? dropped
//	                              bits empty? nobody vouched for it: dropped
//	                  tw-task:    its verdict holds (established)? accepted
//	                  tw-egress  ─ tree over bits 0-13  ─▶ tw-e-<posture> ─ allowed ─▶ tw-allowed
//	                  tw-ingress ─ tree over bits 14-27 ─▶ tw-i-<posture> ─ allowed ─▶ tw-accept
//
// So attaching a task is two set elements over netlink, whatever the number of
// policies; only a posture that the host did not know writes rules, all of a
// batch in one atomic iptables-restore. A packet finds its posture in a number
// of steps that does not grow with endpoints and grows with the logarithm of
// the postures. A packet between two tasks of one host meets both postures.
//
// A posture's number outlives it where a new posture takes its place: the number
// leads to the new one's chains from the write that brings them, and its endpoints
// need not be touched.
//
// Every step from there on is a goto. A packet that nothing decided, because
// someone emptied a chain, falls back to tw-forward and is dropped there; a denial
// ends in a chain that logs and drops.
//
// The packet's mark belongs to us between mangle FORWARD/INPUT and the end of
// filter, its low 28 bits only, and only for packets from or to a task's
// interface; they are cleared before the packet is accepted.
package firewall
