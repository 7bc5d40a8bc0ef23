// Package wan plays the network that Taskwall grew up in: a data centre with a
// legacy network behind a firewall, and a cloud site, joined by BGP.
//
//	 legacy database          172.16.0.10, runs nothing of ours
//	        │
//	 legacy firewall          lets one pool through, by its addresses alone
//	        │ 10.0.9.0/30
//	 aggregation router ══ direct 10.0.8.0/30, preferred ══ cloud router
//	        │           ══ vpn    10.0.8.4/30            ══      │
//	   10.0.1.0/24                                          10.0.2.0/24
//	 ┌──────┼───────┬──────┐                          ┌──────────┼──────┐
//	reflector reflector h1 h2                      reflector     c1     c2
//	  rr1      rr2     (hosts)                       crr         (hosts)
//
// The data centre is AS 64512, the cloud site AS 64513. Routers and reflectors
// are BIRD 2, real ones; hosts run the agent, which speaks BGP itself. The
// reflectors know no host: they take sessions from their whole segment. All
// are network namespaces; Mesos, Marathon and the message bus are on a segment
// of their own for management, so that a cut of a link cuts only data.
package wan
