// Package bundle makes evidence for an assessor: a question about the past, its
// answer, and the records that prove it, in one file that anybody can check
// with nothing but this program and the public keys of the checkpoints.
//
//	log ─▶ fold ─▶ answer ─▶ report.html
//	 └── records with their chain, checkpoints ──┐
//	question, answer, report ────────────────────┴─▶ FILE.tar.gz ─▶ Check: chain, signatures, fold again
//
// A bundle is a gzipped tar of these files, in this order:
//
//	README.txt      what it is, for who finds it
//	question.json   the question
//	state.json      only of a short bundle: the state from which it is folded
//	log.jsonl       the records and checkpoints, as package eventlog exports them
//	answer.json     the answer
//	report.html     the answer for people
//
// A whole bundle holds all records from the log's first on, so its answer
// follows from signed records alone. A short one holds the records of the
// period, and begins with a state that no signature vouches for.
package bundle
