package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// BenchmarkHostJoinsReflectors is the fold of one more host in a cluster of
// which two hosts are route reflectors: it concerns itself and them.
func BenchmarkHostJoinsReflectors(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			s, seq, told := NewState(), uint64(0), 0
			say := func(ev events.Event) {
				seq++
				ev.Received = time.Unix(int64(seq), 0).UTC()
				told = len(s.Apply(events.Entry{Seq: seq, Event: ev}))
			}
			join := func(i int) {
				name, address := fmt.Sprintf("h%d", i), fmt.Sprintf("172.16.%d.%d", i/250, i%250+1)
				say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + name, Name: name, Address: address, Reachable: true}})
				say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: name, Address: address}})
			}
			for i := range n {
				join(i + 1)
			}
			say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann",
				Put: []events.Resource{must(reflectors), must(toReflectors)}}})
			next := n
			for b.Loop() {
				next++
				join(next)
			}
			b.ReportMetric(float64(told), "hosts-told")
		})
	}
}
