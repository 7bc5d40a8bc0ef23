package agent_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// The host that the agent is made for has 500 endpoints, 5,000 policies and
// sets of 100,000 members: -scale 100.
var scale = flag.Int("scale", 2, "how large TestScale's host is, in percent of the largest")

// A host of the largest size, all at once: what each change costs there, that a
// restart writes nothing anew, and that all of it can be taken away again.
func TestScale(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) { largeHost(t, backend, 5**scale, 50**scale, 1000**scale) })
	}
}

func largeHost(t *testing.T, backend string, endpoints, policies, members int) {
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.CheckEvery = backend, 2*time.Second })
	say := func(what string, d time.Duration) {
		t.Helper()
		t.Logf("%-52s %10s", what, d.Round(10*time.Microsecond))
	}
	median := func(what string, n int, f func(i int) time.Duration) {
		t.Helper()
		took := make([]time.Duration, n)
		for i := range took {
			took[i] = f(i)
		}
		slices.Sort(took)
		say(what+", median", took[n/2])
		say(what+", worst", took[n-1])
	}

	it := manyPolicies(policies, endpoints)
	for i := range 2 {
		all := make([]string, members)
		for j := range all {
			all[j] = netip.AddrFrom4([4]byte{10, 64 + byte(i)<<4 + byte(j>>16), byte(j >> 8), byte(j)}).String()
		}
		it.Sets = append(it.Sets, nets(fmt.Sprintf("large%d", i), all...))
	}
	say(fmt.Sprintf("%d policies, 2 sets of %d", policies, members), l.must2(it).Took)

	tasks := make([]*task, endpoints)
	var eps []work.Endpoint
	for i := range tasks {
		name := fmt.Sprintf("t%d", i)
		tasks[i] = l.container(name)
		eps = append(eps, endpoint(name, fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250), fmt.Sprintf("p%d", i)))
	}
	say(fmt.Sprintf("%d endpoints announced", endpoints), l.must2(work.Item{Endpoints: eps}).Took)
	started := time.Now()
	each(tasks, func(tk *task) {
		if out, exit := tk.add(); exit != 0 {
			t.Errorf("ADD of %s: %s", tk.executor, out)
		}
	})
	say("all of them attached", time.Since(started))
	if t.Failed() {
		t.FailNow()
	}
	tasks[0].Serve("tcp", "10.0.0.1:80")
	tasks[1].reaches("tcp", "10.0.0.1:80")
	tasks[1].blocked("tcp", "10.0.0.1:81")

	median("a policy changes", 9, func(i int) time.Duration {
		p := it.Programs[2]
		p.Ingress = tier(append(slices.Clone(p.Ingress[0].Rules), allow(6, "peers", uint16(1+i)))...)
		return l.must2(work.Item{Programs: []work.Program{p}}).Took
	})
	median("a member comes", 9, func(i int) time.Duration {
		return l.must2(work.Item{Members: []work.SetEdit{{ID: "large0", Add: []string{fmt.Sprintf("172.16.0.%d", i)}}}}).Took
	})
	median("a member goes", 9, func(i int) time.Duration {
		return l.must2(work.Item{Members: []work.SetEdit{{ID: "large0", Remove: []string{fmt.Sprintf("172.16.0.%d", i)}}}}).Took
	})
	extra := l.container("extra")
	var gone []time.Duration
	median("an endpoint comes", 9, func(i int) time.Duration {
		l.must2(work.Item{Endpoints: []work.Endpoint{endpoint("extra", "10.1.0.1", "p0")}})
		l.mesos.add(extra.container, "extra")
		started := time.Now()
		extra.mustAdd()
		took := time.Since(started)
		started = time.Now()
		l.must2(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/extra"}}})
		extra.del()
		gone = append(gone, time.Since(started))
		l.await("extra detached", detached("fw/extra"))
		return took
	})
	median("an endpoint goes", 9, func(i int) time.Duration { return gone[i] })
	extra.Remove()

	rss, cpu := l.memory(), l.cpu()
	const watch = 4                 // seconds
	time.Sleep(watch * time.Second) // a measurement, not a synchronisation
	say("CPU for a check every 2 s, each second", (l.cpu()-cpu)/watch)
	t.Logf("%-52s %7d MB", "the agent's memory, resident", rss>>20)

	before := kernel(t, backend)
	started = time.Now()
	l.harm("ipset del tw-s-large0 10.64.0.7")
	l.await("drift", func(r work.Report) bool { return r.Drift != nil && strings.Contains(r.Drift.What, "tw-s-large0") })
	say("a member that someone removed is found after", time.Since(started))
	started = time.Now()
	l.harm("iptables-" + backend + " -F tw-i-p1")
	l.await("drift", func(r work.Report) bool { return r.Drift != nil && strings.Contains(r.Drift.What, "tw-i-p1") })
	say("a chain that someone flushed is found after", time.Since(started))
	if d := cmp.Diff(before, kernel(t, backend)); d != "" {
		t.Errorf("not mended:\n%.2000s", d)
	}

	const rule = "-A tw-i-p0 "
	count := counters(t, backend, rule)
	l.kill()
	started = time.Now()
	l.start()
	awaitSynced(t, l, tasks[0])
	say("a restart, until the agent is ready", time.Since(started))
	say("the controller's picture after it", l.must2(*l.wanted.Item("h1")).Took)
	if d := cmp.Diff(before, kernel(t, backend)); d != "" {
		t.Errorf("a restart changed the host:\n%.2000s", d)
	}
	if now := counters(t, backend, rule); now != count {
		t.Errorf("a rule was written anew: its counter was %s and is %s", count, now)
	}
	tasks[1].reaches("tcp", "10.0.0.1:80")
	t.Logf("%-52s %7d MB", "the agent's memory after it, resident", l.memory()>>20)

	del := &work.Deletions{Sets: []string{"peers", "large0", "large1"}}
	for i, ep := range eps {
		del.Endpoints = append(del.Endpoints, ep.ID)
		del.Programs = append(del.Programs, it.Programs[i].ID)
	}
	say("all endpoints end", l.must2(work.Item{Delete: &work.Deletions{Endpoints: del.Endpoints}}).Took)
	started = time.Now()
	each(tasks, func(tk *task) {
		if out, exit := tk.plugin("DEL", tk.config("0.2.0", "taskwall")); exit != 0 {
			t.Errorf("DEL of %s: %s", tk.executor, out)
		}
	})
	say("all DELs answered", time.Since(started))
	left := map[string]bool{}
	for _, id := range del.Endpoints {
		left[id] = true
	}
	l.await("all being detached", func(r work.Report) bool {
		if r.Wiring != nil && r.Wiring.State == events.Detached {
			delete(left, r.Wiring.Endpoint)
		}
		return len(left) == 0
	})
	say("all of them detached", time.Since(started))
	del.Endpoints = nil
	say("all policies and sets go", l.must2(work.Item{Delete: del}).Took)
	nothingLeft(t, l, backend)
}

// manyPolicies has n policies in force, spread over postures; each posture
// also lets any other reach TCP port 80.
func manyPolicies(n, postures int) work.Item {
	it := work.Item{Sets: []work.Set{nets("peers", "10.9.0.1", "10.9.0.2")}}
	for i := range postures {
		p := work.Program{ID: fmt.Sprintf("p%d", i), Ingress: tier(), Egress: tier()}
		for j := i; j < n; j += postures {
			r := allow(6, []string{"peers", "large0", "large1"}[j%3], uint16(1000+j), uint16(20000+j))
			r.Policy = fmt.Sprintf("NetworkPolicy production/policy-%d", j)
			p.Policies = append(p.Policies, r.Policy)
			p.Ingress[0].Rules, p.Egress[0].Rules = append(p.Ingress[0].Rules, r), append(p.Egress[0].Rules, to(r))
		}
		last := allow(6, "", 80)
		p.Ingress[0].Rules, p.Egress[0].Rules = append(p.Ingress[0].Rules, last), append(p.Egress[0].Rules, last)
		it.Programs = append(it.Programs, p)
	}
	return it
}

// each does something for every task, eight at a time, as a Mesos agent does in
// a storm.
func each(tasks []*task, f func(*task)) {
	var wg sync.WaitGroup
	next := make(chan *task)
	for range 8 {
		wg.Go(func() {
			for tk := range next {
				f(tk)
			}
		})
	}
	for _, tk := range tasks {
		next <- tk
	}
	close(next)
	wg.Wait()
}

// memory is what the agent's process holds in memory, in bytes.
func (l *lab) memory() uint64 {
	l.t.Helper()
	f := l.proc("statm")
	pages, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		l.t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

// cpu is the processor time that the agent's process and its children that have
// ended used (proc(5): stat's fields 14 to 17, in hundredths of a second).
func (l *lab) cpu() time.Duration {
	l.t.Helper()
	f := l.proc("stat")
	total := time.Duration(0)
	for _, s := range f[13:17] {
		n, err := strconv.Atoi(s)
		if err != nil {
			l.t.Fatal(err)
		}
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total
}

func (l *lab) proc(file string) []string {
	l.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", l.pid, file))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.Fields(string(b))
}
