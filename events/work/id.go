package work

import "strings"

// EndpointID names an endpoint. executor is "framework id/executor id" (Mesos ids
// hold no slash), network the one that it asked for as its nth, from 0. On the
// first network the endpoint is named like its executor; on others the network's
// name follows.
func EndpointID(executor, network string, nth int) string {
	if nth == 0 {
		return executor
	}
	return executor + "/" + network
}

// ExecutorOf is the executor of an endpoint, as EndpointID takes it.
func ExecutorOf(endpoint string) string {
	framework, rest, _ := strings.Cut(endpoint, "/")
	executor, _, further := strings.Cut(rest, "/")
	if !further {
		return endpoint
	}
	return framework + "/" + executor
}
