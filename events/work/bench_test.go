package work_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// serve is a child process that is nothing but a server: its heap is the
// server's. For each line on stdin it answers with the bytes of it in use.
func serve(dir string) {
	s, err := bus.StartServer(bus.ServerOptions{Dir: dir, Listen: "127.0.0.1:-1"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Shutdown()
	fmt.Println(s.URL())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		fmt.Println(m.HeapAlloc)
	}
}

// benchServer starts the child; heap asks it.
func benchServer(b *testing.B) (url string, heap func() int64) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "WORK_TEST_DIR="+b.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() }) //nolint:errcheck // the child ends with its stdin
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "nats://") {
		b.Fatalf("the server said %q", lines.Text())
	}
	return lines.Text(), func() (n int64) {
		fmt.Fprintln(in, "heap") //nolint:errcheck // the answer tells
		if !lines.Scan() {
			b.Fatal("the server is gone")
		}
		fmt.Sscan(lines.Text(), &n) //nolint:errcheck // a zero shows
		return n
	}
}

// due is a work item that is due.
type due struct {
	rev  int
	host string
}

// fanout has hosts listen, a thousand work items a second published for 3 s,
// each for another host, and tells how long each took, counted from when it
// was due. As in the controller, those that became due meanwhile are sent
// together; usually that is one.
func fanout(b *testing.B, prefix string, hosts int, send func(c *bus.Conn) func(items []due) error) {
	const rate, seconds, conns = 1000, 3, 20
	ctx := context.Background()
	url, heap := benchServer(b)
	connect := func() *bus.Conn {
		c, err := bus.Connect(ctx, bus.Options{URLs: []string{url}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		return c
	}
	controller := connect()
	if err := bus.EnsureStreams(ctx, controller.JS, bus.Retention{}, 1); err != nil {
		b.Fatal(err)
	}
	clients := make([]*bus.Conn, conns)
	for i := range clients {
		clients[i] = connect()
	}
	name := func(i int) string { return fmt.Sprintf("node-%05d.example.com", i) }
	// Item i goes to host i*7919 mod hosts: to each in turn, in no order. The
	// r-th item of a round to the host that is first in turn i is item i+r*hosts.
	times := make([]time.Time, rate*seconds)
	turn, each := map[string]int{}, (len(times)+hosts-1)/hosts
	for i := range min(hosts, len(times)) {
		turn[name(i*7919%hosts)] = i
	}
	took := make(chan time.Duration, len(times))
	before := heap()
	for i := range hosts {
		first := turn[name(i)]
		_, err := clients[i%conns].NATS.Subscribe(bus.LiveSubject(name(i)), func(msg *nats.Msg) {
			var rev int
			fmt.Sscan(msg.Header.Get("Taskwall-Rev"), &rev) //nolint:errcheck // a zero fails below
			took <- time.Since(times[first+(rev-1)%each*hosts])
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range clients {
		if err := c.NATS.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	perHost := float64(heap()-before) / float64(hosts)
	// The ten thousand hosts are other machines: what collecting the garbage of
	// all their goroutines takes here is not the way to one of them.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	publish := send(controller)
	var all []time.Duration
	for round := range b.N {
		begin := time.Now().Add(10 * time.Millisecond)
		for i := range times {
			times[i] = begin.Add(time.Duration(i) * time.Second / rate)
		}
		for i := 0; i < len(times); {
			sleep(time.Until(times[i]))
			var items []due
			for now := time.Now(); i < len(times) && !times[i].After(now); i++ {
				items = append(items, due{round*each + i/hosts + 1, name(i * 7919 % hosts)})
			}
			if err := publish(items); err != nil {
				b.Fatal(err)
			}
		}
		for range times {
			all = append(all, <-took)
		}
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), prefix+"us-p50")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), prefix+"us-p99")
	if prefix == "" {
		b.ReportMetric(perHost, "server-B/host")
	}
}

// sleep is the kernel's: the runtime's own rounds up to a millisecond when there
// is nothing else to do, which would count as the item's.
func sleep(d time.Duration) {
	if ts := unix.NsecToTimespec(int64(d)); d > 0 {
		unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil) //nolint:errcheck // who wakes early looks at the clock again
	}
}

// wake is how late the kernel ends a sleep of this idle machine, a thousand a
// second for 3 s: the 99th percentile. A message needs several such wakes on its
// way, so what is measured of it can't be less.
func wake() time.Duration {
	late := make([]time.Duration, 3000)
	begin := time.Now()
	for i := range late {
		due := begin.Add(time.Duration(i) * time.Millisecond)
		sleep(time.Until(due))
		late[i] = time.Since(due)
	}
	slices.Sort(late)
	return late[len(late)*99/100]
}

// BenchmarkFanout is a work item from its publishing to its host; raw is the
// same with a bare message on the same kind of stream.
func BenchmarkFanout(b *testing.B) {
	for _, hosts := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			fanout(b, "", hosts, items(b))
			fanout(b, "raw-", hosts, bare)
			b.ReportMetric(float64(wake().Microseconds()), "wake-us-p99")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// items sends work items.
func items(b *testing.B) func(*bus.Conn) func([]due) error {
	return func(c *bus.Conn) func([]due) error {
		p, err := work.NewPublisher(context.Background(), c.JS, 1)
		if err != nil {
			b.Fatal(err)
		}
		return func(all []due) error {
			items := make([]*work.Item, len(all))
			for i, d := range all {
				items[i] = item(d.host, uint64(d.rev))
				items[i].Members = []work.SetEdit{{ID: "k3x9a0q4mz7t2v5w", Add: []string{"10.64.3.17"}}}
			}
			return p.Publish(context.Background(), items...)
		}
	}
}

// bare sends messages of the same size.
func bare(c *bus.Conn) func([]due) error {
	return func(all []due) error {
		msgs := make([]*nats.Msg, len(all))
		for i, d := range all {
			msgs[i] = &nats.Msg{Subject: bus.WorkSubject(d.host), Header: nats.Header{"Taskwall-Rev": {fmt.Sprint(d.rev)}}, Data: make([]byte, 200)}
		}
		return bus.PublishPipelined(context.Background(), c.JS, msgs)
	}
}

// BenchmarkPublishSpan publishes what one event causes on so many hosts.
func BenchmarkPublishSpan(b *testing.B) {
	for _, span := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", span), func(b *testing.B) {
			c := bustest.Streams(b)
			p, err := work.NewPublisher(context.Background(), c.JS, 1)
			if err != nil {
				b.Fatal(err)
			}
			rev := uint64(0)
			for b.Loop() {
				rev++
				items := make([]*work.Item, span)
				for i := range items {
					items[i] = item(fmt.Sprintf("node-%d", i), rev)
				}
				if err := p.Publish(context.Background(), items...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReport is a report until it is durable.
func BenchmarkReport(b *testing.B) {
	r := work.NewReporter(bustest.Streams(b), "node-1")
	for b.Loop() {
		if err := r.Report(context.Background(), work.Report{Applied: &work.Applied{Rev: 1}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTakeOver is what a new leader needs before it can publish, with ten
// thousand hosts in the stream.
func BenchmarkTakeOver(b *testing.B) {
	c := bustest.Streams(b)
	p, err := work.NewPublisher(context.Background(), c.JS, 1)
	if err != nil {
		b.Fatal(err)
	}
	var items []*work.Item
	for i := range 10_000 {
		items = append(items, item(fmt.Sprintf("node-%d", i), 1))
	}
	if err := p.Publish(context.Background(), items...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := work.NewPublisher(context.Background(), c.JS, 1); err != nil {
			b.Fatal(err)
		}
	}
}
