// Package scheduler decides what each host must do.
//
// Its heart is a pure fold: State.Apply takes one entry of the log and returns
// the work items that follow from it.
//
//	entry ─▶ cluster facts ─▶ endpoints ─▶ addresses ─┐
//	   └───▶ policies ────────────────────▶ resolver ─┼─▶ span ─▶ work items
//	                                                  └─ what each host needs
//
// Nothing in the fold reads a clock, draws a random number, depends on the
// order of a map or does I/O: time comes from the entries. So the same log
// gives the same items, byte for byte, whoever folds it and whenever: the
// controller that leads, one that follows, or an audit.
//
// Package controller runs the fold against the live log.
package scheduler
