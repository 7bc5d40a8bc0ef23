package scheduler

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/policytest"
)

// largeState is the state of a cluster of 1,000 hosts with so many tasks, all
// attached, 32 of an app, each app with a policy.
func largeState(tasks int) *State {
	const hosts, perApp = 1000, 32
	apps := tasks / perApp
	w := policytest.Workload{Endpoints: apps * policytest.TasksPerApp, Policies: apps}
	s, seq := NewState(), uint64(0)
	say := func(ev events.Event) {
		seq++
		ev.Received = time.Unix(int64(seq), 0).UTC()
		s.Apply(events.Entry{Seq: seq, Event: ev})
	}
	say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann", Put: append(w.AllPolicies(),
		must(`{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"tasks"},"spec":{"cidr":"10.0.0.0/9","blockSize":26}}`))}})
	for i := range hosts {
		h := fmt.Sprintf("node-%d", i)
		address := netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i%250 + 1)}).String()
		say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + h, Name: h, Address: address, Reachable: true}})
		say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: h, Address: address}})
	}
	for i := range tasks {
		t := task(fmt.Sprintf("shop_app-%d.instance-%08x-1d22-11ef-a75c-e26e2bdf29ca._app.1", i%apps, i), fmt.Sprintf("node-%d", i%hosts), "TASK_RUNNING")
		t.Labels = map[string]string{"app": fmt.Sprintf("app-%d", i%apps), "taskwall.environment": "production", "team": fmt.Sprintf("team-%d", i%100),
			"taskwall.uses": fmt.Sprintf("app-%d", (i*7+1)%apps)}
		t.Ports = []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}}
		t.Container, t.Since, t.Healthy = fmt.Sprintf("c-%d", i), time.Unix(int64(i), 0).UTC(), new(true)
		say(events.Event{Kind: events.TaskPut, Task: t})
	}
	return s
}

// BenchmarkRestore makes the state of 100,000 tasks from its snapshot.
func BenchmarkRestore(b *testing.B) {
	data, err := largeState(100_000).MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if err := NewState().UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(len(data))/1e6, "snapshot-MB")
}

// cpuTime is what the process has used, of all cores: the machine may be busy.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
