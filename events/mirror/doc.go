// Package mirror turns levels into differences. A source tells its mirror how
// things are; the mirror compares that with what the log already says, and
// appends an event for what differs.
//
//	source ── PutTask, TaskGone, … ──▶ mirror ──▶ difference? ──▶ pending ── Flush ──▶ Sink (the log)
//	                                     ▲                           │
//	                                     └────── picture ◀───────────┘
//
// # The id of an event
//
// The log keeps one of several events with one id for a while (JetStream's
// window for duplicates). So the id must be equal when two observers tell of
// one happening, or one observer tells of it twice, and must never be equal
// for two happenings: the later one would be lost, and the log's picture wrong.
//
// An id is a hash of the kind, the key, the level before and the level after.
// That makes a repeat equal, and A→B and B→A different. It would make the first
// and the third step of A→B→A→B equal; so a mirror that makes the same step again
// counts it, and hashes the count. It does not know of the steps of the mirror
// before it, of another controller or another term: the sink makes ids of
// different terms different (package scheduler/controller).
package mirror
