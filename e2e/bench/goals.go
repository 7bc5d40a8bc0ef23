package main

// goal is what a figure is compared with.
type goal struct {
	target  float64 // in the metric's unit; 0: none
	atLeast bool    // more is better
	peer    string  // the best known figure of a peer
}

// goals by benchmark and unit.
var goals = map[string]goal{
	"Launch kernel-p50-ms": {peer: "Felix: 32-60 ms from a label to enforced, without its data store"},
	"Launch attach-p50-ms": {target: 25},
}
