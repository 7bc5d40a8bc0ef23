// Package selector is Calico's selector language: a text that says which
// labels a thing must have.
//
//	text ── Parse ──▶ Selector ── Matches(labels) ──▶ true or false
//	                     │
//	                     ├─ String, ID    canonical form and its hash: equal needs share a set
//	                     └─ Cover         which labels an index must look at
//
// The grammar, loosest binding first:
//
//	or      = and { "||" and }
//	and     = unary { "&&" unary }
//	unary   = { "!" } atom
//	atom    = "(" or ")" | "all()" | "global()" | "has(" key ")" | key test
//	test    = ( "==" | "!=" | "contains" | "starts with" | "ends with" ) string
//	        | ( "in" | "not in" ) "{" [ string { "," string } ] "}"
//	key     = 1 to 512 of a-z A-Z 0-9 _ . / -
//	string  = '…' or "…", without escapes
//
// A test of a label that is absent is false, except for "!=" and "not in",
// which are true then. Outside of a namespaceSelector, "global()" is "all()".
package selector
