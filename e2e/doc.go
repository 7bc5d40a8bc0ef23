// Package e2e holds the whole-system tests: real processes of ours on hosts
// that are network namespaces, with a simulated Mesos and Marathon.
//
//	netns   hosts as namespaces on one segment
//	probe   real connections from inside a namespace, and what came of them
//	peer    the workload that answers them
//	sim     the simulated Mesos masters, Mesos agents and Marathon
//	story   the scenario: apps, policies, and which flows they permit
//	demo    the program that shows the story to people
package e2e
