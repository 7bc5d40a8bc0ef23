// Package master is a simulated Mesos master: the operator API with its event
// stream, the scheduler API, and the state that both show.
//
//	frameworks ──Call──▶ ┌────────┐ ──RunTasks, Acknowledge──▶ agents
//	           ◀─Event── │ Master │ ◀─Register, Update──────── (package mesosagent)
//	                     └───┬────┘
//	                 operator stream: SUBSCRIBED, TASK_ADDED, TASK_UPDATED, …
//
// One lock is the master's single actor: everything that happens under it is
// one turn, and subscribers see the turns in order. Agents and frameworks are
// called under it, so they must queue what they get and neither block nor call
// back.
//
// Masters that share a Quorum are one cluster: one leads, the others redirect.
// A new leader knows only which agents were admitted (recovered agents), until
// they and the frameworks come to it (CLUSTER-API 3.3, 3.4).
package master
