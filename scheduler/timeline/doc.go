// Package timeline tells what happened to an app, a task, an address, a host or
// a policy, in order.
//
//	log ─── Entry ──▶ fold ─┬─▶ state before and after ─▶ Teller ─▶ []Event
//	reports ─ Report ───────┴─▶ who had which address then ──┘
//
// It folds the log as the controller does, and looks at what each entry changes
// of its subject: so a policy change is told when, and only when, it changed
// which policies apply to the subject's tasks, what those allow, or which
// addresses they name.
package timeline
