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
//	state.bin       the snapshot of the state from which it is folded; not of a whole bundle
//	log.jsonl       the records and checkpoints, as package eventlog exports them
//	answer.json     the answer
//	report.html     the answer for people
//
// A whole bundle holds all records from the log's first on, so its answer
// follows from signed records alone. A bundle that begins with a vouched state
// holds those from there on: a checkpoint signs the state and is itself one of the
// chain that follows, so the state is that log's. A short one begins with a
// state that no signature vouches for. No state may hold records of the period.
package bundle
