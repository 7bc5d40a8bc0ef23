// Package mesos is the source that turns what a Mesos master says into events.
//
//	masters ──307/503/404──▶ leader ──SUBSCRIBE──▶ records ──▶ queue ──▶ reduce ──▶ mirror ──▶ Sink
//	                            └──GET_AGENTS, GET_EXECUTORS───────────────┘
//
// Levels are truth, edges are hints. A subscription begins with the master's
// whole state, tied without a gap to the events that follow (CLUSTER-API 3.2);
// the source compares it with what the log says and appends the differences.
// Then each record makes one difference, fast. It subscribes anew, and so
// compares everything, when the stream breaks, falls silent or says something
// that cannot be right, and on a timer. It does not compare with GET_STATE,
// whose answer is tied to no place in the stream: a task added or ended between
// the two would be taken away or brought back for a moment.
//
// What the stream does not tell (CLUSTER-API 3.4) is asked for: what became of
// tasks that were unreachable and did not come back with their agent, by
// subscribing anew, for a master forgets them; agents that
// vanish, by GET_AGENTS on a timer; where an agent is that the log has not heard
// of, by the same call before a task of it is told of; the labels and networks of
// pods, which are their executors', by GET_EXECUTORS before that.
//
// A record is reduced to the fields that events carry before it goes anywhere:
// status data, commands and environments are never even decoded from JSON, and
// dropped from protobuf at once.
package mesos
