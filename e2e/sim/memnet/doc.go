// Package memnet is a network in memory with the semantics of TCP on loopback
// that the simulated cluster needs: ports, refused connections, buffers that
// fill up when nobody reads, deadlines, half-read ends. Its waiting is visible
// to testing/synctest, so that in a bubble the time of whole clusters passes as
// fast as they are idle.
//
//	Dial ─▶ Network ─▶ listener ─▶ Accept
//	  conn ══ pipe ═▶ ══ conn
//	  conn ◀═ pipe ══ ══ conn
package memnet
