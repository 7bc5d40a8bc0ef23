// Package agent makes the controller's decisions so on one host.
//
//	Inbox ─ work.Item ─▶ apply ──▶ firewall (sets, rules, wires)    Outbox
//	                       │  ├───▶ routes, bgp                        ▲
//	                       │  └───▶ cuts: connections now denied ──────┤
//	                       ▼                                           │ work.Report
//	                    journal (disk)      ┌──────── reporter ────────┘
//	                       │                │
//	taskwall-cni ─ cni ─▶ attach / detach ──┤   veth, wires, tracked connections
//	Mesos agent ◀─ who is this container? ──┘
//	timers ─▶ check (drift), sweep (containers that are no more)
//
// One goroutine applies items, in the order of revisions and, within an item,
// so that what is referred to exists before what refers to it. Attaching and
// detaching run beside it; the two meet in the endpoints' table, under one
// short lock.
//
// Every item is on disk before it is in the kernel, so an agent that starts
// without its controller knows what the kernel should hold, and keeps it.
package agent
