// Package verdict decides what a posture says about a connection, as the
// firewall's rules do in the kernel. The agent asks it which of the
// connections that are already established are denied by a new policy.
//
//	Packet, []work.Tier, Sets ─▶ Allows ─▶ bool
//
// It is pure: what the rules mean is written here a second time, in some
// hundred lines, and the tests compare it with the kernel.
package verdict
