// Package bgp speaks BGP (RFC 4271) for one host: it announces the host's
// blocks of addresses, learns the way to others', and keeps what it learned in
// the kernel. GoBGP is the protocol's engine, inside this process.
//
//	work.BGP ─▶ Apply ─▶ engine (GoBGP) ◀── BGP ──▶ reflectors, routers, hosts
//	                       │      │   policies: admission, filters
//	                       │      └──▶ sessions, refusals ─▶ reports, metrics
//	                       ▼
//	                   learned paths ─▶ admission ─▶ next hops ─▶ kernel
//	                   10.0.1.0/24 via 192.0.2.11 dev eth0 proto 85 metric 85
//
// # What can go wrong, and what holds
//
// A peer is not trusted. Only networks that work.BGP accepts are learned, never
// what would take an address, a block, a pool or the host itself away
// (admission.go). The same rules are given to the engine, so that a reflector
// does not pass on what it would not take, and asked again before the kernel is
// written. The kernel prefers our own routes besides: a learned one has a worse
// metric, so it can never win over the route to a task, the host's own block or
// a static route to the same network.
//
// The kernel's routes outlive the process. A new one takes those that it finds
// as they are and announces itself as restarting (RFC 4724): its peers keep its
// routes, and it keeps theirs until each has said End-of-RIB, or settleTime is
// over. Until then nothing is removed, and a route is changed only when no peer
// offers any of the ways that it has.
//
// # GoBGP's own
//
// The engine owns its sockets and timers: they live in the network namespace
// of the thread that makes them, so the whole process must be in the host's. Its policies
// are not per peer but one list with conditions on the neighbour (policy.go).
// Its BFD part starts a goroutine, but no socket while no peer uses BFD.
// A peer that is removed leaves its MD5 key on the listening socket, which
// removePeer works around, and a peer that offers too many prefixes would be
// treated as one that restarts gracefully; pausePeer takes it out instead. It has no local preference of 0 in
// policies: what a peer drains gets 1. A peer that is removed while something
// waits to be sent to it leaves a goroutine and that behind.
// A path with the host's own number in it is dropped before it takes the place
// of the one that the peer sent before, which stays: the policies refuse such
// paths instead (policy.go).
// LOCAL_PREF from another AS it takes out of a path that a watcher of what peers
// send may be reading; so the speaker watches what comes out of the policies.
// It marks paths as stale, as their session ends, while a watcher may read them:
// a race of one bit, by which the speaker may miss that a session which is over
// had offered what is refused (e2e/race.supp).
// A peer that has connected and says nothing keeps its other connections from
// being taken for four minutes.
package bgp
