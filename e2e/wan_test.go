package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/wan"
)

const wanPrefix = "twwan"

// TestWAN plays the network of docs/network.md with real routers and real
// packets: two sites, two reflectors, a legacy firewall that knows one pool.
func TestWAN(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	n := setWAN(t, ctx, wan.Options{})
	before, err := n.Firewall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("tasks reach what policy allows, with their own addresses", func(t *testing.T) { flows(t, ctx, n, wan.Flows) })
	t.Run("the firewall needs no change when tasks come and go", func(t *testing.T) {
		if err := n.Restart(ctx, "/pay/api"); err != nil {
			t.Fatal(err)
		}
		flows(t, ctx, n, wan.Flows)
		if after, err := n.Firewall(ctx); err != nil || after != before {
			t.Errorf("its rules are\n%s\nand were\n%s\n%v", after, before, err)
		}
	})
	t.Run("the preferred link fails and returns", func(t *testing.T) {
		gap, back := failover(t, ctx, n)
		t.Logf("gap %v when the link failed; %d of %d datagrams lost when it came back", gap.Gap, back.Lost(), back.Sent)
	})
	t.Run("a reflector dies and nothing is lost", func(t *testing.T) {
		within, across := measure(t, ctx, n, "/pay/meter-dc"), measure(t, ctx, n, "/pay/meter")
		if err := n.Procs.Kill("rr1"); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitSessions(ctx, 4); err != nil { // h1 and h2 with rr2, c1 and c2 with crr
			t.Fatal(err)
		}
		running(t, ctx, n, within, across)
		for _, m := range []*wan.Meter{within, across} {
			if l := m.Stop(); l.Lost() != 0 {
				t.Errorf("%d of %d datagrams lost, the longest gap %v", l.Lost(), l.Sent, l.Gap)
			}
		}
		if err := n.StartRouter(ctx, "rr1"); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitSessions(ctx, 6); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an agent is killed and started and nothing is lost", func(t *testing.T) {
		within, across := measure(t, ctx, n, "/pay/meter-dc"), measure(t, ctx, n, "/pay/meter")
		for _, host := range []string{"h1", "h2"} {
			if err := n.Procs.Kill(deploy.AgentOf(host)); err != nil {
				t.Fatal(err)
			}
			running(t, ctx, n, within, across)
			if err := n.Revive(ctx, host); err != nil {
				t.Fatal(err)
			}
			if err := n.WaitSessions(ctx, 6); err != nil {
				t.Fatal(err)
			}
		}
		running(t, ctx, n, within, across)
		for _, m := range []*wan.Meter{within, across} {
			if l := m.Stop(); l.Lost() != 0 {
				t.Errorf("%d of %d datagrams lost, the longest gap %v", l.Lost(), l.Sent, l.Gap)
			}
		}
	})
	t.Run("a host is drained and nothing is lost", func(t *testing.T) {
		m := measure(t, ctx, n, "/pay/meter")
		task, err := n.Task("/pay/api", "")
		if err != nil {
			t.Fatal(err)
		}
		const leaving = "(65535,0)" // GRACEFUL_SHUTDOWN, RFC 8326
		for _, step := range []struct {
			command string
			marked  bool
		}{{"drain", true}, {"undrain", false}} {
			if out, err := n.Taskwall(ctx, "host", step.command, task.Host); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := n.Until(ctx, step.command+" to reach the reflector", func() (bool, error) {
				out, err := n.Bird(ctx, "rr2", "show", "route", "for", task.Address, "all")
				return strings.Contains(out, "BGP.next_hop") && strings.Contains(out, leaving) == step.marked, err
			}); err != nil {
				t.Fatal(err)
			}
		}
		running(t, ctx, n, m)
		if l := m.Stop(); l.Lost() != 0 {
			t.Errorf("%d of %d datagrams lost, the longest gap %v", l.Lost(), l.Sent, l.Gap)
		}
	})
	t.Run("a cloud host joins by itself", func(t *testing.T) {
		if err := n.Grow(ctx); err != nil {
			t.Fatal(err)
		}
		if err := n.Scale(ctx, "/pay/web", 3); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitSessions(ctx, 7); err != nil {
			t.Fatal(err)
		}
		flow := wan.Flow{From: "/pay/web", To: "/pay/api", Port: 8443, Open: true, Host: "c3"}
		if err := n.Until(ctx, "the new host's tasks to be reached", func() (bool, error) {
			o, err := n.Observe(ctx, flow)
			return o.Right(), err
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("audits know when a site was unreachable", func(t *testing.T) {
		out, err := n.Taskwall(ctx, "audit", "timeline", "--host", "h1")
		if err != nil || !strings.Contains(out, "rr1") {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := n.Taskwall(ctx, "audit", "replay"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if err := n.Strike(); err != nil {
		t.Errorf("ending: %v", err)
	}
	if left := netns.Leftovers(wanPrefix); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if out := n.Output(); strings.Contains(out, "DATA RACE") || strings.Contains(out, "panic:") {
		t.Errorf("a process raced or panicked:\n%s", out)
	}
}

// BenchmarkWANFailover is how long a flow between the sites stands still when the
// preferred link dies silently: noticed by BFD, and by the hold time of 90 s.
func BenchmarkWANFailover(b *testing.B) {
	for name, opt := range map[string]wan.Options{"bfd": {}, "hold-90s": {DefaultTimers: true}} {
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
			defer cancel()
			n := setWAN(b, ctx, opt)
			var gap, lost float64
			for b.Loop() {
				g, back := failover(b, ctx, n)
				gap, lost = gap+g.Gap.Seconds(), lost+float64(back.Lost())
			}
			b.ReportMetric(gap*1000/float64(b.N), "gap-ms")
			b.ReportMetric(lost/float64(b.N), "lost-on-return")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkWANNewBlock is the time from an app's creation until all hosts of both
// sites have the route to the block that its task's host got for it.
func BenchmarkWANNewBlock(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	n := setWAN(b, ctx, wan.Options{})
	var all time.Duration
	i := 0
	for ; b.Loop(); i++ {
		took, err := n.NewBlock(ctx, i%256)
		if err != nil {
			b.Fatal(err)
		}
		all += took
	}
	b.ReportMetric(float64(all.Milliseconds())/float64(i), "routes-ms")
	b.ReportMetric(0, "ns/op")
}

func setWAN(t testing.TB, ctx context.Context, opt wan.Options) *wan.Network {
	t.Helper()
	opt.Prefix, opt.Bin = wanPrefix, binaries
	n, err := wan.Set(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Strike(); err != nil {
			t.Error(err)
		}
	})
	for _, step := range []func(context.Context) error{
		n.Apply, n.Deploy,
		func(ctx context.Context) error { return n.WaitSessions(ctx, 6) },
		n.WaitRoutes,
	} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func flows(t *testing.T, ctx context.Context, n *wan.Network, flows []wan.Flow) {
	t.Helper()
	var wg sync.WaitGroup // a denied flow shows by its silence: wait for all at once
	for _, f := range flows {
		wg.Go(func() {
			if o, err := n.Observe(ctx, f); err != nil || !o.Right() {
				t.Errorf("%+v: observed %v, the client is %s; %v", f, o.Result, o.Client, err)
			}
		})
	}
	wg.Wait()
}

func measure(t testing.TB, ctx context.Context, n *wan.Network, from string) *wan.Meter {
	t.Helper()
	m, err := n.Measure(ctx, from, "/pay/api")
	if err != nil {
		t.Fatal(err)
	}
	running(t, ctx, n, m)
	return m
}

// running waits until flows have carried some more.
func running(t testing.TB, ctx context.Context, n *wan.Network, meters ...*wan.Meter) {
	t.Helper()
	for _, m := range meters {
		from := m.Received()
		if err := n.Until(ctx, "the measured flow to run", func() (bool, error) { return m.Received() > from+200, nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// failover cuts the preferred link under a flow and mends it again, and says
// what each of the two cost.
func failover(t testing.TB, ctx context.Context, n *wan.Network) (cut, back wan.Loss) {
	t.Helper()
	path := func(want string) {
		t.Helper()
		if err := n.Until(ctx, "the way over "+want, func() (bool, error) {
			link, err := n.Path(ctx, "/pay/meter")
			return link == want, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	path("direct")
	m := measure(t, ctx, n, "/pay/meter")
	if err := n.Cut("direct"); err != nil {
		t.Fatal(err)
	}
	path("vpn")
	running(t, ctx, n, m)
	cut = m.Stop()
	m = measure(t, ctx, n, "/pay/meter")
	if err := n.Mend("direct"); err != nil {
		t.Fatal(err)
	}
	path("direct")
	running(t, ctx, n, m)
	return cut, m.Stop()
}
