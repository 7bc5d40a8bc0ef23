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
// That makes a repeat equal, A→B and B→A different, and two controllers that
// read the same log agree. It would make the first and the third step of
// A→B→A→B equal; two things prevent that. A level includes the source's own
// time of it (Since: of a task's latest status, of a registration), which
// differs when a level returns. And a mirror that makes the same step again
// counts it, and hashes the count. What is left is two happenings with the same
// levels and the same source times, the second seen first by another
// controller within the window; the sources' timed reconciliation mends even
// that.
package mirror
