// Package bus is the message bus: an embedded NATS server with JetStream, the
// subjects and streams that Taskwall uses on it, who may do what there, and
// connections that come back by themselves.
//
//	            account CONTROL                             account HOSTS
//	controller ─▶ EVENTS  taskwall.events
//	           ─▶ WORK    WORK.<host> ── republished ──▶ taskwall.work.<host> ─▶ agent
//	           ◀─ REPORTS REPORTS.<host> ◀──────────── REPORTS.<host> ◀───────── agent
//	           ◀▶ taskwall.catchup.<host> ◀──────────▶ taskwall.catchup.<host> ◀▶ agent
//	           ◀─ taskwall.alive.<host> ◀────────────── taskwall.alive.<host> ◀─ agent
//	auditor ◀── read-only JetStream requests (account AUDIT)
//
// Agents and auditors live in accounts of their own and reach nothing but the
// subjects that the CONTROL account exports to them. Permissions on subjects
// alone would not do: the server sends acknowledgements and answers to any
// reply subject that a client names, and a push consumer delivers to any
// subject, so a client of the same account could have the server write into
// the log on its behalf. An answer that crosses accounts goes to its asker
// only.
//
// Durability: with one server every write is synced to disk before its
// acknowledgement (SyncAlways); the server syncs an atomic batch once. Work
// items alone are not: they follow from the log, and are made again from it if
// a crash of the server takes the last few. With several servers and three
// replicas a write is acknowledged when a majority holds it.
package bus
