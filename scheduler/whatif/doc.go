// Package whatif replays a stretch of real history against other policies: which
// flows between which apps would have been another way, for how long, and which
// packets that hosts reported.
//
//	log ── fold ─▶ endpoints ─┬─▶ world as it was ───────┐
//	                          └─▶ world as it would be ──┴─▶ classes ─▶ pairs that differ, over time
//	reports: denied, logged ───────────────────────────────▶ verdicts of both worlds
//
// Endpoints of an app that no rule of either world can tell apart are a class.
// Two classes are compared once, when the later of them comes up; from then on
// only the numbers of their tasks are followed. So an event costs as much as the
// tasks that it changes, and not what the cluster has in pairs.
//
// Tasks keep the addresses that they had. A task without an address is not
// looked at: it had no network.
package whatif
