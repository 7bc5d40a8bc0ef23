// Package work holds what crosses the wire between the controller and the
// hosts: the work item, which tells one host what it must now do, and the
// report, which tells what a host did or saw; and how both travel.
//
//	scheduler ─ Item ─▶ WORK.<host> (JetStream, RePublish) ─▶ agent
//	scheduler ◀─ Report ─ REPORTS.<host> (JetStream) ◀──────── agent
//
// The scheduler and the agent meet only here.
package work
