// Package events says what happened: the event types, and the folded picture
// of the cluster that they add up to.
//
//	Marathon /v2/events ──▶ marathon ─┐
//	Mesos operator API  ──▶ mesos    ─┼─▶ eventlog (one ordered log on JetStream)
//	policy files, agent reports      ─┘
//
// Its subpackages are the two sources (mesos, marathon), which connect to leaders
// (connect) and append what differs from the log's picture (mirror); the log
// (eventlog); the work items that go to hosts with the reports that come back
// (work); NATS, on which all of that travels (bus), and who may write (lease).
// canon reads the log's JSON quickly, moment what people write for a time, and
// backoff spaces out retries.
// All that can change the network is an event; everything else is derived
// from the log by the fold in package scheduler.
package events
