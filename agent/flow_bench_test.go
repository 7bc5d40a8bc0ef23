package agent_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// BenchmarkFlow: a connection between two tasks of a host with 5,000 active
// policies: the time to open it (that packet meets the rules), of a round trip once it
// is established, and what it carries. "x-10" is the ratio to the same with ten
// policies in force, "cpu-x-10" that of the processor time; they take turns on one
// host, and medians are compared. Raw: the same between two namespaces that are
// routed by the same host and are no tasks.
func BenchmarkFlow(b *testing.B) {
	for _, backend := range bothBackends {
		b.Run("backend="+backend, func(b *testing.B) { flow(b, backend) })
	}
}

// A round measures each kind in batches, so that what else the machine does
// strikes both sides alike.
const (
	flowRounds = 5
	flowTrips  = 300
	flowOpens  = 100
	flowBulks  = 25
)

func flow(b *testing.B, backend string) {
	// The agent is a process of its own: its processor time is not the flow's.
	l := newLab(b, inProcess, func(c *agent.Config) { c.Backend = backend })
	all := work.Rule{Action: work.Allow, Policy: "NetworkPolicy production/flow"}
	l.must2(work.Item{Programs: []work.Program{posture("flow", tier(all), tier(all))}})
	client, server := l.run("client", "10.1.0.1", "flow"), l.run("server", "10.1.0.2", "flow")
	server.Serve("tcp", "10.1.0.2:80")
	plain, far := netlab.New(b), netlab.New(b)
	netlab.Join(b, "raw0", "10.2.0.1/24", plain, "eth0", "10.2.0.2/24")
	netlab.Join(b, "raw1", "10.2.1.1/24", far, "eth0", "10.2.1.2/24")
	for ns, gw := range map[*netlab.Namespace]string{plain: "10.2.0.1", far: "10.2.1.1"} {
		ns.Do(func() error { return exec.Command("ip", "route", "add", "default", "via", gw).Run() })
	}
	far.Serve("tcp", "10.2.1.2:80")
	task, raw := newFlowPath(b, client.Namespace, "10.1.0.2:80"), newFlowPath(b, plain, "10.2.1.2:80")

	few, many := policies(10), policies(5000)
	back := few
	back.Delete = &work.Deletions{}
	for _, p := range many.Programs[len(few.Programs):] {
		back.Delete.Programs = append(back.Delete.Programs, p.ID)
	}
	m := medians{}
	for b.Loop() {
		l.settled(back)
		for range flowRounds { // there and back: what grows with time favours neither
			task.measure(b, m, "few-")
			l.settled(many)
			task.measure(b, m, "")
			raw.measure(b, m, "raw-")
			task.measure(b, m, "")
			l.settled(back)
			task.measure(b, m, "few-")
		}
	}
	for _, k := range []string{"rtt", "open"} {
		b.ReportMetric(float64(m.median(k).Nanoseconds())/1000, k+"-us")
		b.ReportMetric(float64(m.median("raw-"+k).Nanoseconds())/1000, "raw-"+k+"-us")
	}
	for _, k := range []string{"", "raw-"} {
		b.ReportMetric(bulk/1e6/m.median(k+"bulk").Seconds(), k+"MB/s")
	}
	for _, k := range []string{"rtt", "open", "bulk"} {
		b.ReportMetric(float64(m.median(k))/float64(m.median("few-"+k)), k+"-x-10")
		b.ReportMetric(float64(m.median(k+"-cpu"))/float64(m.median("few-"+k+"-cpu")), k+"-cpu-x-10")
	}
	b.ReportMetric(0, "ns/op")
}

// settled sends an item and waits until the agent has nothing left to do for it.
func (l *lab) settled(it work.Item) {
	l.t.Helper()
	if a := l.must2(it); a.Digest == "" {
		l.await("the picture's digest", func(r work.Report) bool { return r.Applied != nil && r.Applied.Rev == l.rev && r.Applied.Digest != "" })
	}
}

// flowPath is a way for packets, with a connection that is established.
type flowPath struct {
	from *netlab.Namespace
	to   string
	conn net.Conn
}

func newFlowPath(b *testing.B, from *netlab.Namespace, to string) *flowPath {
	b.Helper()
	c, err := from.Dial("tcp", to)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return &flowPath{from, to, c}
}

// measure adds each duration of a round under its kind, and the processor time of
// each kind's batch.
func (p *flowPath) measure(b *testing.B, m medians, prefix string) {
	b.Helper()
	batch := func(kind string, n int, one func() error) {
		b.Helper()
		began := processTime(b)
		for range n {
			m.time(prefix+kind, func() {
				if err := one(); err != nil {
					b.Fatalf("%s%s: %v", prefix, kind, err)
				}
			})
		}
		m[prefix+kind+"-cpu"] = append(m[prefix+kind+"-cpu"], processTime(b)-began)
	}
	batch("rtt", flowTrips, func() error { return netlab.Echo(p.conn, 30*time.Second) })
	batch("open", flowOpens, func() error {
		c, err := p.from.Dial("tcp", p.to)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	batch("bulk", flowBulks, func() error { return carry(p.conn) })
}

// processTime is the processor time that this process used, that of packets which
// its system calls send included.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// bulk is what goes each way at once, in bytes.
const bulk = 2 << 20

// carry sends bulk over a connection whose other end sends all back.
func carry(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, bulk))
		sent <- err
	}()
	_, err := io.CopyN(io.Discard, c, bulk)
	return errors.Join(err, <-sent)
}
