// Package placement is the Mesos framework that keeps one taskwall agent running
// on every Mesos host, and replaces them one after the other when they are to run
// something else (CLUSTER-API 4).
//
//	leader ──SUBSCRIBED, OFFERS, UPDATE──▶ session ──▶ fleet ──LAUNCH, DECLINE, KILL──▶ leader
//
// The fleet decides and is told the time; the session speaks. What runs where is
// asked of the master, not kept: a host is given a task only after the master
// has been asked what runs there already. The framework's id is found in the
// log, which hears of every framework; nothing is launched by one that the log
// does not know yet, so no controller that takes over can miss it.
package placement
