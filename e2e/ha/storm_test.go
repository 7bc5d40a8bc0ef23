package ha

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// stormRate is the task changes a second of a storm.
const stormRate = 1000

var stormLength = flag.Duration("storm", 60*time.Second, "how long BenchmarkStorm lasts")

// TestStorm: the changes of a storm are taken in as they come, and when it is
// over everything is folded and published.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := storm(t, 100, 100, 1000, 3*time.Second)
	t.Logf("%d changes, peak lag %d entries, zero after %s, resident %d MB", s.changes, s.lag, s.zero.Round(time.Millisecond), s.resident>>20)
}

// BenchmarkStorm is a thousand task changes a second for a minute: 5,000 tasks
// of 500 apps on 500 hosts, each app open to one other. The controller is
// measured from outside; NATS is another process.
func BenchmarkStorm(b *testing.B) {
	for b.Loop() {
		s := storm(b, 500, 500, 5000, *stormLength)
		b.ReportMetric(float64(s.rest>>20), "rest-MB")
		b.ReportMetric(float64(s.resident>>20), "peak-MB")
		b.ReportMetric(float64(s.heap>>20), "peak-heap-MB")
		b.ReportMetric(float64(s.lag), "peak-lag")
		b.ReportMetric(float64(s.late.Milliseconds()), "late-ms")
		b.ReportMetric(float64(s.zero.Milliseconds()), "zero-ms")
		b.ReportMetric(float64(s.events)/stormLength.Seconds(), "events/s")
		b.ReportMetric(float64(s.items)/stormLength.Seconds(), "items/s")
	}
	b.ReportMetric(0, "ns/op")
}

// stormFigures are what the controller was seen to need.
type stormFigures struct {
	changes        int
	events, items  uint64
	lag            uint64        // peak, in entries of the log
	late           time.Duration // the worst delay of a change on its way in
	zero           time.Duration // from the last change until all is published
	rest           uint64        // resident before the storm, bytes
	resident, heap uint64        // peaks during it
}

func storm(t testing.TB, hosts, apps, bulk int, length time.Duration) (f stormFigures) {
	m := newStormMaster(t, hosts, apps, bulk, stormRate, length)
	p := &stormPlace{t: t, hosts: hosts, metrics: freeAddress(t)}
	p.start(m.url)
	p.policies(apps)
	p.answer()
	p.rests(bulk)

	f.rest = uint64(p.sample()["process_resident_memory_bytes"])
	before := p.status()
	items := p.items.Load()
	close(m.storm)
	var done stormed
	for tick := time.NewTicker(200 * time.Millisecond); done.over.IsZero(); {
		select {
		case done = <-m.done:
		case <-tick.C:
			p.peak(&f)
		}
	}
	for {
		p.peak(&f)
		if st := p.status(); st.Log.Last == st.Log.Folded && running(st) == done.running {
			f.zero, f.events = time.Since(done.over), st.Log.Last-before.Log.Last
			break
		}
		if time.Since(done.over) > 2*time.Minute {
			t.Fatal("the storm is not absorbed two minutes after its end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.changes, f.late, f.items = done.sent, done.late, p.items.Load()-items
	return f
}

// running counts the tasks that run.
func running(st controller.Status) (n int) {
	for _, e := range st.Endpoints {
		if e.State == "TASK_RUNNING" {
			n++
		}
	}
	return n
}

// stormPlace is a controller, its NATS, and hosts that answer.
type stormPlace struct {
	t       testing.TB
	hosts   int
	metrics string
	conn    *bus.Conn
	items   atomic.Uint64
}

func (p *stormPlace) start(mesos string) {
	listen := freeAddress(p.t)
	node := natsServer(p.t, bus.ServerOptions{Name: "nats", Dir: p.t.TempDir(), Listen: listen})
	node.start()
	c := newProcess(p.t, "controller", taskwall, "controller", "--mesos", mesos, "--nats-url", "nats://"+listen,
		"--metrics-listen", p.metrics, "--address-hold", "1s", "--log-level", "warn")
	c.start()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if p.conn, err = bus.Connect(ctx, bus.Options{URLs: []string{"nats://" + listen}}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.conn.Close)
	for {
		if _, err := p.ask(); err == nil {
			return
		}
		if ctx.Err() != nil {
			p.t.Fatal("nobody leads")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *stormPlace) ask() (controller.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return controller.Call[controller.Status](ctx, p.conn, controller.SubjectStatus, struct{}{})
}

func (p *stormPlace) status() controller.Status {
	p.t.Helper()
	st, err := p.ask()
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// policies opens each app to one other, and to nobody else.
func (p *stormPlace) policies(apps int) {
	p.t.Helper()
	change := events.PolicyChange{Author: "ann"}
	put := func(kind, name, spec string) {
		change.Put = append(change.Put, events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Name: name}, File: "p.yaml", Line: 1,
			Body: json.RawMessage(fmt.Sprintf(`{"apiVersion":"projectcalico.org/v3","kind":%q,"metadata":{"name":%q},"spec":%s}`, kind, name, spec))})
	}
	put("IPPool", "main", `{"cidr":"10.0.0.0/12"}`)
	for i := range apps {
		put("GlobalNetworkPolicy", fmt.Sprint("app-", i), fmt.Sprintf(`{"selector":"app == 'app-%d'","types":["Ingress"],"ingress":[
			{"action":"Allow","protocol":"TCP","source":{"selector":"app == 'app-%d'"},"destination":{"ports":[8080]}}]}`, i, (i+1)%apps))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := controller.Call[controller.ApplyResult](ctx, p.conn, controller.SubjectApply, controller.ApplyRequest{Change: change}); err != nil {
		p.t.Fatal(err)
	}
}

// answer reports for all hosts what their agents would, and as they do: each
// report once the one before is durable, and of those that wait about applied
// items only the newest.
func (p *stormPlace) answer() {
	// Before a host joins: its picture comes once, and these do not look for what
	// they missed, as agents do.
	msgs := make(chan *nats.Msg, 1<<20)
	sub, err := p.conn.NATS.ChanSubscribe("taskwall.work.*", msgs)
	if err == nil {
		err = p.conn.NATS.FlushTimeout(20 * time.Second)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var agents sync.WaitGroup
	queues := map[string]chan *work.Item{}
	for i := range p.hosts {
		queues[hostName(i)] = make(chan *work.Item, 1<<14)
	}
	for i := range p.hosts {
		agents.Go(func() { p.agent(ctx, hostName(i), i, queues[hostName(i)]) })
	}
	agents.Go(func() {
		for msg := range msgs {
			data, err := bus.Unpack(msg.Header, msg.Data)
			it := new(work.Item)
			if err == nil {
				err = json.Unmarshal(data, it)
			}
			if err != nil {
				p.t.Error(err)
				continue
			}
			p.items.Add(1)
			queues[it.Host] <- it
		}
	})
	p.t.Cleanup(func() {
		cancel()
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			p.t.Error(err)
		}
		close(msgs)
		agents.Wait()
	})
}

func (p *stormPlace) agent(ctx context.Context, name string, i int, items <-chan *work.Item) {
	reporter := work.NewReporter(p.conn, name)
	waiting := []work.Report{{Time: time.Now().UTC(),
		Join: &events.Join{Host: name, Address: fmt.Sprintf("192.168.%d.%d", i>>8, i&255)}}}
	for {
		if len(waiting) == 0 {
			select {
			case it := <-items:
				waiting = answers(name, it)
			case <-ctx.Done():
				return
			}
		}
		for more := true; more; {
			select {
			case it := <-items:
				waiting = slices.DeleteFunc(waiting, func(r work.Report) bool { return r.Applied != nil })
				waiting = append(waiting, answers(name, it)...)
			default:
				more = false
			}
		}
		if err := reporter.Report(ctx, waiting[0]); err != nil {
			if ctx.Err() == nil {
				p.t.Errorf("host %s: %v", name, err)
			}
			return
		}
		waiting = waiting[1:]
	}
}

// rests waits until everything that is there from the beginning is settled.
func (p *stormPlace) rests(tasks int) {
	p.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		st := p.status()
		attached, ready := 0, 0
		for _, h := range st.Hosts {
			if h.State == "ready" {
				ready++
			}
		}
		for _, e := range st.Endpoints {
			if e.Wiring == events.Attached {
				attached++
			}
		}
		if ready == p.hosts && attached == tasks && st.Log.Last == st.Log.Folded {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d of %d hosts have joined, %d of %d endpoints are attached, log at %d, folded to %d",
				ready, p.hosts, attached, tasks, st.Log.Last, st.Log.Folded)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (p *stormPlace) peak(f *stormFigures) {
	now := p.sample()
	f.lag = max(f.lag, uint64(now["taskwall_log_lag"]))
	f.resident = max(f.resident, uint64(now["process_resident_memory_bytes"]))
	f.heap = max(f.heap, uint64(now["go_memstats_heap_inuse_bytes"]))
}

// sample reads the metrics that have no labels.
func (p *stormPlace) sample() map[string]float64 {
	p.t.Helper()
	resp, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	all := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			all[name] = v
		}
	}
	return all
}
