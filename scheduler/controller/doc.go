// Package controller runs the fold against the live log, in every controller
// that runs: one leads, the others fold along and are ready to.
//
//	Mesos, Marathon ─ events ─┐              ┌─▶ items ─▶ WORK.<host>   the leader only
//	policy apply ─────────────┼─▶ log ─▶ fold┤
//	REPORTS.<host> ───────────┘              └─▶ snapshot, now and then
//
// Everything that goes into the fold goes through the log first. What the fold
// gives back waits, in the log's order, until it is settled: the leader
// publishes it; a follower drops it when the leader says that it has. So who
// takes over holds exactly what may not have been published yet, and begins
// with that. What a former leader had published after all is recognised by its
// revision and left alone.
//
// A leader's first act is a record in the log (events.TermBegin): from there on
// the log refuses whoever led before.
package controller
