// Package history reads what happened: from the live streams, from streams
// restored from a backup of NATS, or from a copy on disk. Questions of an
// audit are answered the same from each.
//
// # Copies
//
// A copy is a directory that anyone can read with zstd and a JSON parser:
//
//	copy.json      what is in the copy, and up to which sequence
//	EVENTS/        the log, one record a line
//	WORK/          the published work items
//	REPORTS/       what the hosts reported
//	CHECKPOINTS/   the signed checkpoints of the log
//	SNAPSHOTS/     states of the fold
//
// A stream's directory holds segments, named after the first sequence in them:
//
//	EVENTS/00000000000000000001.jsonl.zst
//
// "zstd -dc" of all segments in order gives the stream as JSON Lines:
//
//	{"seq":2,"prev":"5e…","epoch":1,"writer":"…","event":{…}}           EVENTS
//	{"seq":7,"time":"…","host":"…","epoch":1,"item":{…}}                WORK
//	{"seq":3,"time":"…","host":"…","report":{…}}                        REPORTS
//	{"seq":1,"time":"…","checkpoint":{…}}                               CHECKPOINTS
//
// "seq" is the sequence in the stream and "time" when the server stored it.
// Event, item, report and checkpoint are the bytes that were stored; where
// those are not JSON on one line, "raw" holds them in base64 instead. The first
// record has no "prev". A record that could not be read has an "error". WORK
// leaves out the claims of publishers, whose sequences are gaps.
//
// # Segments
//
// A segment is a sequence of zstd frames of about a megabyte of lines each.
// Before each frame stands a skippable frame, which zstd passes over, with a
// line of JSON that says what the next frame holds:
//
//	{"first":1,"last":2041,"lines":2041,"low":1,"high":2041,"from":"…","to":"…","bytes":1048113,"packed":98123}
//
// first and last are sequences; from and to the earliest and the latest time
// in the frame (of an event, when it was received); low and high the least and
// the greatest cause of a work item, elsewhere the sequences; bytes and packed
// the size of the lines and of the frame. Reading these headers is enough to
// find any sequence or time. Each frame carries zstd's checksum. What is
// damaged or missing is reported with its place and never passed over in
// silence: the copy says in copy.json how far it goes.
//
// # Snapshots
//
// SNAPSHOTS/<seq>.state.zst is the state of the fold after that record, from
// the stream or made while copying, in the binary form of scheduler.State;
// <seq>.json.zst in JSON, as earlier versions wrote it. Snapshots make questions fast. Some are
// vouched for by a checkpoint, which signs the SHA-256 of the bytes before zstd:
// after History.Trust no others are used. History.IgnoreSnapshots folds from the
// log's beginning instead. The directory may be deleted.
package history
