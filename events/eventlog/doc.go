// Package eventlog is the one ordered log of all that happened, kept in a
// JetStream stream that nobody can edit unseen.
//
//	Append ─▶ EVENTS: 1 ◀── 2 ◀── 3 ◀── …   each record holds its predecessor's hash
//	                        ▲     │
//	CHECKPOINTS: (2, hash, signature)  └─▶ Read, Follow ─▶ fold ─▶ SNAPSHOTS
//
// A record's sequence is the stream's own: from 1, without gaps. Its hash is
// SHA-256 over the text
//
//	taskwall-record-1\n<seq>\n<hash of predecessor, hex>\n<epoch>\n<writer>\n<event JSON>
//
// so a record that is removed, altered or moved breaks the chain where it was.
// A message that no controller wrote (none of the chain's headers) is a foreign
// record: it says nothing, and is in the chain with epoch 0, an empty writer and
// its bytes in place of an event.
// Signed checkpoints bind the chain to a key that the message bus does not
// have: who rewrites the whole log still cannot sign it.
//
// One writer appends at a time. Each batch says which record it follows; a
// writer that another has overtaken is refused (ErrFenced).
package eventlog
