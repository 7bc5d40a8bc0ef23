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

// EndpointAt names an endpoint of an executor whose id another host's executor of
// the same framework has, too: Mesos wants it unique on an agent only. The first
// host's endpoints are named by EndpointID, the others' so.
func EndpointAt(host, executor, network string, nth int) string {
	return EndpointID(executor+"/@"+host, network, nth)
}

// NamesHost reports whether an endpoint is named by EndpointAt.
func NamesHost(endpoint string) bool {
	return strings.HasPrefix(endpoint[len(ExecutorOf(endpoint)):], "/@")
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
