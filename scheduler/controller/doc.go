// Package controller runs the fold against the live log.
//
//	Mesos, Marathon ─ events ─┐              ┌─▶ items ─▶ WORK.<host>
//	policy apply ─────────────┼─▶ log ─▶ fold┤
//	REPORTS.<host> ───────────┘              └─▶ snapshot, now and then
//
// Everything that goes into the fold goes through the log first. What the fold
// gives back is published in the log's order; what an earlier leader already
// published is recognised by its revision and left alone.
package controller
