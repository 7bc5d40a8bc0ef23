// Package resource reads and checks policy resources: Calico's
// projectcalico.org/v3 kinds and LabelGuard.
//
//	files ── Load ──▶ events.Resource (normalised JSON) ── the log ──▶ Parse ──▶ *Policy, *Tier, *Set, *Pool, *Guard, *BGP
//	           │                                                        │
//	           └── Problems: file:line:column: message; what to write instead
//
// Reading is strict: what is unknown, misspelt, impossible, or means nothing
// on Mesos is a Problem and not ignored, since a rule that is silently dropped
// is a hole. All problems of all files are collected.
package resource
