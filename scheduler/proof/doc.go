// Package proof compares what was to be, what was sent and what was done.
//
//	records ─▶ chain, checkpoints
//	   └─ fold ─▶ items ═══ published items ─▶ each host's picture ═══ what it reported as applied
//	   └─ words of hosts ═══ their reports
//
// Each ═ is a comparison. The records are read once, in order, with the
// published items and the reports beside them, so the memory that it takes is
// one picture per host, and not more the longer the log is.
//
// What can be found and where is in docs/audit.md.
package proof
