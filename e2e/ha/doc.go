// Package ha holds the tests of high availability: several controllers, and
// NATS beside them, as real processes that are killed, stopped, resumed and cut
// off while tasks come and go. Then the log, the work items and the hosts must
// agree, as if nothing had happened.
//
//	simulated Mesos, Marathon ─▶ controllers ─▶ proxies ─▶ NATS, one or three ─▶ hosts
//
//	go test ./e2e/ha -run TestControllers -faults 200 -fault-seed 7
package ha
