// Package marathon is the source that turns what Marathon says into events:
// what it is, which apps and pods it runs in which version, and what it
// deploys. Tasks are Mesos' to tell: see package mesos.
//
//	members ──302──▶ leader ──/v2/events──▶ sse ──▶ buffer ──▶ hints ──▶ REST ──▶ mirror ──▶ Sink
//	                    └──/v2/info, /v2/groups, /v2/deployments──────────┘
//
// Events are hints, answers to REST are levels: Marathon replays nothing and
// promises no order (CLUSTER-API 0). A connection counts as made with the
// first event, the stream's own event_stream_attached: what happened between
// the 200 and that is lost (CLUSTER-API 1.2). Then the snapshot is read by
// REST, compared with what the log says, and the events that were buffered
// meanwhile are looked at. An event says which group, app or deployment
// to look at; all but a deployment's end is then read by REST.
//
// Of the events only those of apps and deployments are asked for. Those of
// tasks and instances are many more, Marathon cuts off who reads them too
// slowly, and Mesos has told of them before.
//
// go-marathon v0.7.1 is not used. Its listener reorders events and hides
// disconnects; its App fails to decode as soon as one app has a secret in its
// environment, and it knows no pods, no networks and no ports of the 1.5 API
// (CLUSTER-API 6.2): there is no part of it that would be sound to use here.
package marathon
