// Package events says what happened: the event types, and the folded picture
// of the cluster that they add up to.
//
//	Marathon /v2/events ──▶ marathon ─┐
//	Mesos operator API  ──▶ mesos    ─┼─▶ eventlog (one ordered log on JetStream)
//	policy files, agent reports      ─┘
//
// Its subpackages are the two sources (mesos, marathon), the log (eventlog)
// and the work items that go to hosts with the reports that come back (work).
// All that can change the network is an event; everything else is derived
// from the log by the fold in package scheduler.
package events
