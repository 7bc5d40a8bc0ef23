// Package marathon is a simulated Marathon 1.11: REST, event stream, and the
// framework behind them.
//
//	clients ──REST──▶ Member ─┐ leader: serves; standby: proxies, and redirects /v2/events
//	        ◀──SSE─── Member ─┤
//	                          ▼
//	                      Marathon: apps, pods, groups → deployments → instances
//	                          │ Call ▲ Event, in order, through a queue
//	                          ▼      │
//	                       Mesos master (package master)
//
// The state outlives leaders, as ZooKeeper's does; streams do not. What a
// client may count on, and may not, is in CLUSTER-API 1 and 2.
package marathon
