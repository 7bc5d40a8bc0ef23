// Package strict reads YAML (and so JSON) files into Go types, and says of
// everything that is wrong with them where it is and what to write instead.
//
//	text ── Parse ──▶ Nodes ── Decode ──▶ a Go type
//	                    │
//	                    └── Place ◀── Issues that a later check found
//
// What is unknown or misspelt is a problem and not ignored. Hostile files are
// bounded in size and depth; anchors, aliases and tags are not read.
package strict
