// Package mesosagent is a simulated Mesos agent with the network/cni isolator.
//
//	master ──RunTasks──▶ mailbox ─▶ container: fork (blocked, own netns)
//	                                  │ CNI ADD, each network at once     cni.go
//	                                  │ executor registers                executor.go
//	                                  │ TASK_STARTING, TASK_RUNNING
//	                                  │ process ends → terminal update
//	                                  ▼ acknowledged → CNI DEL, gone
//	master ◀──Update─── updates: one unacknowledged per task              updates.go
//	anyone ──HTTP :5051─▶ GET_CONTAINERS, GET_STATE, /containers, …       api.go
//
// An agent with a namespace runs real processes and real plugins in it; one
// without keeps its tasks on paper, for clusters of thousands.
//
// Containers outlive the agent, as checkpointed ones do: Kill ends only what
// the agent's own process does, Start recovers.
package mesosagent
