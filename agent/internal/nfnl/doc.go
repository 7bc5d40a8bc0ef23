// Package nfnl puts requests to the kernel's netfilter over netlink: batches of
// changes, each of which is answered, and dumps, which are read as they come.
//
//	ipset, conntrack ─▶ Conn.Do, Conn.Dump ─▶ netlink socket ─▶ kernel
//	                         └─ opens another when the socket lost an answer
//
// A socket whose buffer overran has lost answers, and what is read next may
// belong to an earlier request. Such a socket is given up and the request made again on
// another: callers ask only for what may be asked twice.
package nfnl
