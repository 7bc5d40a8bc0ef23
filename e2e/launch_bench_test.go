package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/story"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// launches is how many tasks BenchmarkLaunch starts, one after the other.
const launches = 100

// BenchmarkLaunch starts tasks of the web front through Marathon and reads from
// the log, the work items and the hosts' reports how long each took from its
// TASK_ADDED, as received from the master, until the kernel of every host in
// its span had it: the host that runs it, and that of its peer. raw is the median
// of two set elements added one after the other by bare netlink: what this
// changes in the kernels, the interface apart, which comes with the attach.
func BenchmarkLaunch(b *testing.B) {
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
		m := measureLaunches(b, ctx)
		cancel()
		report := func(name string, d []time.Duration) {
			slices.Sort(d)
			b.ReportMetric(milliseconds(d[len(d)/2]), name+"-p50-ms")
			b.ReportMetric(milliseconds(d[len(d)-1]), name+"-max-ms")
		}
		report("kernel", m.kernel)
		report("attach", m.attach)
		slices.Sort(m.raw)
		b.ReportMetric(milliseconds(m.raw[len(m.raw)/2]), "raw-p50-ms")
		b.ReportMetric(float64(m.hosts)/launches, "hosts/launch")
	}
	b.ReportMetric(0, "ns/op")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type launched struct {
	kernel []time.Duration // TASK_ADDED to the last host's kernel, per launch
	attach []time.Duration // the agent's part of a CNI ADD
	raw    []time.Duration
	hosts  int // in all spans
}

func measureLaunches(b *testing.B, ctx context.Context) launched {
	stage, err := story.Set(ctx, deploy.Options{Prefix: prefix, Bin: binaries})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := stage.Strike(); err != nil {
			b.Error(err)
		}
	}()
	if _, err := stage.Apply(ctx, stage.Policies(), "ann", "1"); err != nil {
		b.Fatal(err)
	}
	if err := stage.Deploy(ctx); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	for i := range launches {
		if err := stage.Scale(ctx, "/shop/web", 2+i); err != nil {
			b.Fatal(err)
		}
	}
	var m launched
	var conn *bus.Conn
	if err := stage.Cluster.Control.Do(func() error {
		conn, err = bus.Connect(ctx, bus.Options{URLs: []string{stage.NATS()}, NKeyFile: stage.ControllerKey()})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	readLaunches(b, ctx, conn, begin, &m)
	m.raw = rawLaunches(b, stage)
	return m
}

func readLaunches(b *testing.B, ctx context.Context, conn *bus.Conn, begin time.Time, m *launched) {
	type want struct {
		host string
		rev  uint64
	}
	spans := map[uint64][]want{}
	for stored, err := range work.ReadItems(ctx, conn.JS, 0) {
		if err != nil || stored.Err != nil {
			b.Fatal(err, stored.Err)
		}
		spans[stored.Cause] = append(spans[stored.Cause], want{stored.Host, stored.Rev})
	}
	applied := map[want]time.Time{}
	state, err := bus.StreamState(ctx, conn.JS, bus.ReportsStream)
	if err != nil {
		b.Fatal(err)
	}
	for msg, err := range bus.Fetch(ctx, conn.JS, bus.ReportsStream, "", 1, state.LastSeq) {
		if err != nil {
			b.Fatal(err)
		}
		var r work.Report
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			b.Fatal(err)
		}
		if r.Applied != nil {
			applied[want{r.Host, r.Applied.Rev}] = r.Time
		}
	}
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for entry, err := range log.Read(ctx, 0) {
		if err != nil {
			b.Fatal(err)
		}
		ev := entry.Event
		if ev.Received.Before(begin) {
			continue
		}
		if ev.Kind == events.EndpointState && ev.Wiring.State == events.Attached {
			m.attach = append(m.attach, ev.Wiring.Took)
		}
		if ev.Kind != events.TaskPut || ev.Task.State != "TASK_STAGING" || len(spans[entry.Seq]) == 0 {
			continue
		}
		var last time.Duration
		for _, w := range spans[entry.Seq] {
			at, ok := applied[w]
			if !ok {
				b.Fatalf("host %s has not reported revision %d", w.host, w.rev)
			}
			last = max(last, at.Sub(ev.Received))
		}
		m.hosts += len(spans[entry.Seq])
		m.kernel = append(m.kernel, last)
	}
	if len(m.kernel) != launches || len(m.attach) != launches {
		b.Fatalf("found %d launches and %d attachments, want %d", len(m.kernel), len(m.attach), launches)
	}
}

// rawLaunches does the bare kernel operations of a launch on a host's kernel.
func rawLaunches(b *testing.B, stage *story.Stage) []time.Duration {
	var raw []time.Duration
	err := netns.Do(stage.Cluster.Host(story.Hosts[0]).NS.Path, func() error {
		conn, err := ipset.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		const name = "raw-launch"
		if err := conn.Create(name, ipset.Net); err != nil {
			return err
		}
		defer conn.Destroy(name)
		for i := range launches {
			addr := netip.AddrFrom4([4]byte{10, 99, 0, byte(i)})
			begin := time.Now()
			for range 2 {
				if err := conn.Apply(ipset.Edit{Set: name, Type: ipset.Net, Entries: []ipset.Entry{{Prefix: netip.PrefixFrom(addr, 32)}}}); err != nil {
					return err
				}
			}
			raw = append(raw, time.Since(begin))
		}
		return nil
	})
	if err != nil {
		b.Fatal(fmt.Errorf("raw kernel operations: %w", err))
	}
	return raw
}
