// Package reach says who could reach whom: for one side of a question, all who
// could send to it, or all that it could send to, with the ports and the rules
// that allow it at both ends.
//
//	programs, sets ─▶ Index: classes of like endpoints, networks ─┐
//	one side: endpoints, networks ────────────────────────────────┴─ To, From ─▶ []Flow
//
// Endpoints that no rule can tell apart (equal posture, in the same sets) are
// one class, and addresses outside that no rule can tell apart are one network.
// A question compares the classes of its side with every other class, never
// pairs of tasks, and walks each pair of programs once with ranges of ports, not
// with packets; so an answer costs as much as there are classes.
//
// A flow is there when a packet passes at both ends, from whatever source port:
// a client chooses its own. An end that is no endpoint has no say.
package reach
