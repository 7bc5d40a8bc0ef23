// Package netlab gives tests a machine of their own to break: the whole test
// process runs in a fresh network and mount namespace, and further namespaces
// made from there stand for tasks and other hosts.
//
//	go test ─▶ Main: re-executes itself ─▶ test process = the host under test
//	                                         ├─ Namespace (a task)
//	                                         └─ Namespace (another host)
//
// Nothing needs tidying up: the kernel drops the namespaces, with every link,
// rule and set in them, when the test process ends, however it ends. /run is
// private too, so the xtables lock of the machine is never touched.
package netlab
